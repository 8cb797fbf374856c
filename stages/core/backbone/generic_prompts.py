"""Requests about images in general: what is common to them says nothing about a task.

They are the project's own sentences, of the kinds that people ask models of: objects, text, charts,
people, places, choices, boxes, captions.
"""

from itertools import cycle

_QUESTIONS = """
What is in the picture?
Describe the image in detail.
How many people are there?
What is the man doing?
Is it day or night?
Where was this photo taken?
What is the name of the book?
Who wrote this book?
What is the title of this page?
What year is printed on the cover?
What does the text say?
Read the text in the image.
What brand is the bottle?
What is the price of the item?
What is the total on the receipt?
Which animal is in the picture?
What breed is the dog?
What is the weather like?
What sport is being played?
What is on the table?
What is the person wearing?
Is there a car in the street?
How many chairs can be seen?
What is to the left of the door?
Which object is closer to the camera?
What material is the wall made of?
Who is the person in the photo?
When was this person born?
Which organ is shown in the scan?
Does the scan show a fracture?
What disease is visible in the picture?
Which modality was used for this image?
What is the trend of the line?
Which year had the most sales?
What percentage is the largest slice?
What is the difference between the two values?
Which answer is correct?
Which of the following is true?
Choose the best answer.
Which of these does not belong?
What comes next in the pattern?
Solve the equation.
What is the area of the triangle?
How long is the side of the square?
Give the coordinates of the object.
Locate the person on the left.
Where is the cup?
Point to the red car.
Draw a box around the animal.
Write a caption.
Write a story about this picture.
Summarize what happens here.
What happens next?
Why is the woman smiling?
Is this picture funny?
What emotion does the face show?
Does the statement agree with the picture?
Is the sentence true or false?
Translate the text to English.
What language is the text in?
Which city is this?
What famous building is this?
Who painted this picture?
What style is the painting?
What food is on the plate?
What ingredients are needed?
Can this be eaten?
What time does the clock show?
What is the license plate?
Which bus line is it?
What does the traffic sign mean?
What is the shape of the object?
How tall is the tree?
Which is heavier?
What plant is this?
What species is the bird?
Is the surface rough or smooth?
Which side is up?
What is written at the top?
What is the phone number?
What is the expiry date?
Which key is pressed?
What does the error message say?
Which button should be pressed?
Yes or no?
Tell me about this.
What do you think of it?
Explain the diagram.
Which step comes first?
What is the capital of the state?
Which ocean is highlighted?
What direction is the arrow?
What is the score of the game?
Which team is winning?
What instrument is played?
What vehicle is this?
What is the colour of the shirt?
What pattern is on the dress?
How old is the child?
What is the relation between them?
""".strip().split("\n")
_HINTS = (
    "Answer with one word.",
    "Answer the question using a single word.",
    "Answer with a phrase.",
    "Give a short answer.",
    "Answer with the letter of the option.",
    "Answer in a sentence.",
    "Please answer.",
    "Please look at the image and answer the question.",
    "Options: A. yes, B. no",
    "Answer with the option's letter directly.",
    "Please provide a short answer.",
    "Thank you.",
)

PROMPTS = (
    *_QUESTIONS[::2],
    *(f"{text} {hint}" for text, hint in zip(_QUESTIONS[1::2], cycle(_HINTS), strict=False)),
)
