"""How hard each task is: the one table to tune. Nothing here is read anywhere but in the tasks."""

ROWS = {"train": 600, "test": 120}
KNOBS = {
    # two_things: share of pictures with two stamps
    "stamps_caption": {"side": 112, "two_things": 0.4},
    # zoom: the cut-out's side over the region's; at most `others` further regions; `where`: is
    # the region's place on the map told beside its colour?
    "maps_ground": {"side": 168, "zoom": (1.6, 2.8), "others": 6, "where": True, "least_px": 30},
    # airports' codes: the backbone reads no whole words
    "signs_ocr": {"side": 112},
    "emoji_choice": {"side": 112, "options": 4},
    # by_name: share of questions for the bar's name, which takes reading; the others for its colour
    "charts_vqa": {"side": 112, "bars": (2, 4), "by_name": 0.2},
    "clipart_kind": {"side": 112},
    "numbers_ocr": {"side": 112, "digits": (2, 3)},
    # countries are shared by train and test, views are not; turn in degrees, tilt as a share
    "flags_choice": {"side": 112, "options": 4, "countries": 24, "turn": 15, "tilt": 0.12},
    # words: longest statement
    "glosses_choice": {"side": 112, "options": 3, "words": 12},
}
