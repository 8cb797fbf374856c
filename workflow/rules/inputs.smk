"""What comes from outside: the backbone, the files of the tasks. A dry run names what is missing and
shows its plan all the same; a real one ends with the list before the first job."""

from stages.core.backbone.folder import check_folder
from stages.core.base.contents import Contents
from stages.core.base.edits import fingerprint
from stages.core.runs.versions import other_versions, told

BACKBONE = config["backbone"]["path"]
MADE_BACKBONES = ["results/backbones/pocket", "results/backbones/tiny"]  # each by a rule
CONTENTS = Contents(Path(".snakemake/contents.json"))
MISSING = {}  # files that are not there, each with what to do


def present(files, advice):
    """Those of the given files that are there."""
    for file in files:
        if not Path(file).exists() and file not in MISSING:
            MISSING[file] = advice
            logger.warning(f"missing: {file}")
    return [file for file in files if file not in MISSING]


def stop_if_missing():
    """End with the list before the first job."""
    if MISSING:
        listed = "\n".join(f"  {file}: {advice}" for file, advice in MISSING.items())
        raise WorkflowError(f"error: missing files:\n{listed}")


def stop_if_too_large():
    """End before the first job where a batch cannot fit the GPUs that gpus.memory describes."""
    if GPUS["memory"] == "auto":
        return
    from stages.core.costs.refusal import check_memory

    try:
        check_memory(runs)
    except InputError as error:
        raise WorkflowError(f"error: {error}") from None


def backbone_files():
    """What decides a backbone: the folder if a rule makes it, else its settings and weights."""
    if BACKBONE in MADE_BACKBONES:
        return [BACKBONE]
    if config["backbone"]["revision"] and not Path(BACKBONE).is_dir():
        return []  # a model of the hub, pinned by its revision
    advice = (
        "backbone.path: there is no such folder. Give the folder of a model, or the name of one on "
        "the Hugging Face hub with its commit as backbone.revision. "
        f"Made when missing: {', '.join(MADE_BACKBONES)}."
    )
    if not present([BACKBONE], advice):
        return []
    check_folder(Path(BACKBONE))
    kinds = (".json", ".safetensors")
    return sorted(str(file) for file in Path(BACKBONE).iterdir() if file.suffix in kinds)


try:
    BACKBONE_FILES = backbone_files()
except InputError as error:
    raise WorkflowError(f"error: backbone.path: {error}") from None


def backbone(wildcards):
    return BACKBONE


def manifest_file(wildcards):
    return str(runs.manifest(wildcards.task).path)


def rows_files(wildcards):
    """The files that a manifest names for a split; none for a data set of the hub."""
    manifest = runs.manifest(wildcards.task)
    split = manifest.content[wildcards.split]
    named = [split[key] for key in ("file", "annotations") if key in split]
    files = [str(manifest.root.folder / name) for name in named]
    if Path(made("prepare_data", "train_rows").format(**wildcards)).exists():
        return files  # what was prepared stays usable when the files are gone
    origin = manifest.content["source"]
    advice = f"from {origin.get('url', origin['name'])}; if it lies elsewhere, set data_root"
    return present(files, advice)


def contents_of_data(wildcards):
    """Hashes of what a manifest says of a split's rows, and of its files; images that it names are
    not looked at."""
    manifest = fingerprint(runs.manifest(wildcards.task).decisive)
    return [manifest, *(CONTENTS.hash(Path(file)) for file in rows_files(wildcards))]


def picked_rows(wildcards):
    """The flags of a seeded pick of rows; it is the same for all seeds of the training."""
    count, held_out = config["rows"][wildcards.split], config["rows"]["held_out"]
    flags = ["--rows", count] if count else []
    flags += ["--held-out", held_out] if held_out else []
    return [*flags, "--seed", 0] if flags else []


def rows_to_describe(wildcards):
    """Rows to extract features from: the subset below a seed, otherwise the test rows."""
    if split_scope(scope_of(wildcards))[0]:
        return of("extract_features", "subset")(wildcards)
    return of("extract_test_features", "test_rows")(wildcards)


def tell_other_versions():
    """Name what was made with other versions of the libraries; it is kept."""
    if message := told(other_versions(runs, Path(ROOT))):
        logger.warning(message)
