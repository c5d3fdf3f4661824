"""What the checker knows of stories: word classes, sentence shapes, the order of sentences, and facts that go together.

Nothing here is imported from, or shared with, the generator. A slot like ``{toy}`` stands for a word of that class, and
every ``{toy}`` of one story must be the same word. ``{H}`` is the hero, ``{F}`` the friend, ``{he}`` the hero's
pronoun, ``{fhe}`` the friend's.
"""

from __future__ import annotations

from typing import Final

FEMALE: Final = frozenset({"Anna", "Daisy", "Ella", "Lily", "Mia", "Nora", "Rose", "Zoe"})
MALE: Final = frozenset({"Ben", "Finn", "Jack", "Leo", "Max", "Oscar", "Sam", "Tom"})

_KIND = "bear|boy|cat|dog|duck|fox|frog|girl|goat|hen|mouse|owl|pig|pony|rabbit|sheep"
_TRAIT = "brave|busy|clever|curious|funny|gentle|kind|little|merry|quiet|shy|young"
_NAME = "|".join(sorted(FEMALE | MALE))

CLASSES: Final = {
    "H": _NAME, "F": _NAME, "kind": _KIND, "fkind": _KIND, "trait": _TRAIT, "ftrait": _TRAIT,
    "he": "he|she", "He": "He|She", "him": "him|her", "his": "his|her", "His": "His|Her",
    "fhe": "he|she", "fHe": "He|She",
    "look": "cozy|crooked|small|tall|tidy",
    "home": "(?:barn|cottage|house|hut|mill|tower) "
            "(?:at the end of the road|by the river|by the sea|in the valley|near the woods|on a hill)",
    "weather": "bright|cloudy|foggy|sunny|warm|windy", "time": "afternoon|day|evening|morning",
    "place": "beach|farm|forest|garden|market|meadow|park|school|village",
    "until": "bedtime|dark|dinner|sunset", "colour": "blue|brown|green|pink|purple|red|white|yellow",
    "toy": "bike|boat|doll|dragon|horse|kite|puppet|robot|ship|train|truck|wagon", "part": "arm|sail|tail|wheel",
    "mender": "glue|string|tape|wire",
    "spot": "cave|cellar|hole|lake|pond|roof|tree|well", "moved": "fell|flew|rolled", "to": "into|onto", "at": "in|on",
    "tool": "candle|canoe|hook|ladder|lamp|net|pole|rope",
    "sad": "gloomy|sad|unhappy|upset", "afraid": "afraid|nervous|scared|worried", "angry": "angry|cross|mad",
    "glad": "cheerful|full of joy|glad|happy|joyful",
    "taste": "big|fresh|sweet|tasty|warm", "food": "bun|cake|cookie|melon|muffin|pie|pizza|sandwich",
    "seat": "by the water|on a bench|on a log|on the grass|under a tree",
    "cloth": "blanket|cape|coat|hat|scarf|sweater", "gift": "basket|bell|book|drum|feather|flower|ring|shell",
    "sound": "deep|funny|loud|soft|strange", "room": "attic|closet|hall|kitchen|shed|stable",
    "light": "candle|lamp|lantern", "source": "bird|crab|kitten|monkey|puppy|squirrel",
    "with": "ball|bone|drum|nut|seed|shell",
    "skill": "climb|dance|dive|jump|run|sing|skate|swim", "ground": "field|hill|lake|pond|school",
    "master": "a bird|a fish|a frog|a monkey|a star|a swan|the wind", "number": "five|four|ten|three|two",
    "harvest": "apples|berries|flowers|mushrooms|nuts|plums", "wilds": "forest|hills|jungle|valley|woods",
    "route": "across the field|along the path|around the pond|over the bridge|past the well",
    "meal": "bread|cake|pie|pudding|soup|stew", "giver": "bee|cow|gardener|hen|miller",
    "need": "carrots|eggs|flour|honey|milk",
}

# A line is a step of a story: its name, then the wordings it may have.
SHAPES: Final = """
open      | Once upon a time there was {a} {trait} {kind} named {H}. \
          | Long ago there lived {a} {trait} {kind} named {H}.
briefly   | {H} was {a} {trait} {kind}.
home      | {He} lived in {a} {look} {home}. | {His} home was {a} {look} {home}.
treasure  | {He} had {a} {colour} {toy} and loved it very much. | {His} best toy was {a} {colour} {toy}.
outing    | One {weather} {time}, {H} took the {toy} to the {place}. \
          | One {weather} {time}, {he} went to the {place} with the {toy}.
drop      | But then the {toy} {moved} {to} the {spot}. | All at once the {toy} {moved} {to} the {spot}.
crack     | But {he} fell down and the {part} of the {toy} broke. | But the {toy} hit a rock and its {part} came off.
sad       | {H} was very {sad}. | {H} felt {sad} and began to cry.
afraid    | {H} was very {afraid}. | {H} felt {afraid} and began to cry.
angry     | {H} was very {angry}. | {H} felt {angry} and began to cry.
comes     | Then {a} {ftrait} {fkind} named {F} came by. | {A} {ftrait} {fkind} named {F} saw {him} and came over.
meets     | There {he} met {a} {ftrait} {fkind} named {F}. | On the way {he} saw {a} {ftrait} {fkind} named {F}.
asks      | "What is wrong?" asked {F}. | "Can I help you?" asked {F}.
where     | "My {toy} is {at} the {spot}," said {H}.
which     | "I need a new {part} for my {toy}," said {H}.
tool      | {F} ran home to get a {tool}. | Luckily, {F} had a {tool}.
mender    | {F} ran home to get some {mender}. | Luckily, {F} had some {mender}.
reach     | {fHe} used the {tool} to get the {colour} {toy} back. | With the {tool}, {fhe} got the {colour} {toy} back.
mend      | {fHe} used the {mender} to fix the {part} of the {colour} {toy}. \
          | With the {mender}, {fhe} put the {part} back on the {colour} {toy}.
glad      | {H} was {glad} again. | Now {H} was {glad}.
fglad     | {F} was {glad} again. | Now {F} was {glad}.
thanks    | "Thank you, {F}!" said {H}. | "You are so kind, {F}!" said {H}.
fthanks   | "Thank you, {H}!" said {F}. | "You are so kind, {H}!" said {F}.
play      | {H} and {F} played with the {toy} until {until}. | Then they played with the {toy} until {until}.
food      | One {weather} {time}, {H} made {a} {taste} {food}. \
          | One {weather} {time}, {he} got {a} {taste} {food} from Mom.
carry     | {He} took the {food} to the {place}.
hungry    | {F} had no food and was very {sad}.
why       | "What is wrong?" asked {H}. | "Can I help you?" asked {H}.
because   | "I am so hungry," said {F}. | "I have no lunch," said {F}.
half      | So {H} gave {F} half of the {taste} {food}. | So {H} cut the {taste} {food} in two for {F}.
eat       | They sat {seat} and ate the {food}.
cloth     | {He} had {a} {colour} {cloth} that kept {him} warm. | Mom gave {him} {a} {colour} {cloth} for the snow.
winter    | One cold {time}, {H} took the {cloth} and went to the {place}. \
          | One snowy {time}, {he} went to the {place} with the {cloth}.
cold      | {F} was cold and wet. | {F} shook in the snow.
areyou    | "Are you cold?" asked {H}. | "You look so cold," said {H}.
yes       | "Yes, I lost my {cloth}," said {F}.
wrap      | So {H} gave the {colour} {cloth} to {F}. | So {H} put the {colour} {cloth} on {F}.
warm      | Soon {F} was warm again.
gift      | The next day {F} gave {him} a {gift}.
keep      | {H} loved the {gift}. | {H} put the {gift} by {his} bed.
noise     | One dark night, {H} heard a {sound} noise in the {room}. \
          | Late at night, a {sound} noise came from the {room}.
friend    | {His} best friend was {a} {ftrait} {fkind} named {F}.
call      | {H} ran to find {F}. | {H} called {F} for help.
tell      | "There is a {sound} noise in the {room}," said {H}. | "I hear a {sound} noise in the {room}," said {H}.
letus     | "Let us go and look," said {F}. | "I will go with you," said {F}.
light     | They took a {light} and went to the {room}. | {F} took a {light} into the {room}.
source    | In the light of the {light} they saw a {source} with a {with}. \
          | The {light} showed a {source} with a {with}.
only      | The {source} only wanted to play. | The {source} was only hungry.
want      | {He} wanted to learn to {skill}. | More than anything, {he} wanted to {skill}.
try       | One {weather} {time}, {H} went to the {ground} to {skill}. \
          | One {weather} {time}, {he} tried to {skill} at the {ground}.
cannot    | But {he} could not {skill} at all. | But it was too hard to {skill}.
admit     | "I can not {skill}," said {H}.
teach     | {F} showed {him} how to {skill}. | {F} helped {him} to {skill}.
days      | They tried for {number} days.
can       | After {number} days {H} could {skill} like {master}. | At last {H} could {skill} like {master}.
search    | One {weather} {time}, {H} went to the {wilds} to look for {harvest}. \
          | One {weather} {time}, {he} went to pick {harvest} in the {wilds}.
full      | Soon {he} had a bag full of {harvest}. | {He} found many {harvest}.
astray    | But {he} could not find the way home. | But {he} was lost.
confess   | "I am lost," said {H}. | "I want to go home," said {H}.
lead      | {F} knew the way and led {him} {route}. | {F} took {him} {route}.
back      | Soon {he} was home. | At last they came to the house.
reward    | {H} gave {F} some of the {harvest}. | {H} and {F} ate the {harvest}.
grab      | {F} took the {toy} and ran away. | {F} grabbed the {toy} and hid it.
mine      | "Give me my {toy}!" said {H}. | "That is my {toy}!" said {H}.
sorry     | "I am sorry," said {F}. | "I was wrong," said {F}.
return    | {F} gave the {colour} {toy} back. | {F} came back with the {colour} {toy}.
share     | "We can share the {toy}," said {H}.
plan      | One {weather} {time}, {H} wanted to make {meal} for {F}. \
          | One {weather} {time}, {he} asked {F} to come and eat {meal}.
lack      | But there was no {need} for the {meal}. | But {he} had no {need} for the {meal}.
goto      | So {he} went to see the {giver}. | So {he} asked the {giver} for help.
beg       | "I need some {need}," said {H}. | "Do you have any {need}?" asked {H}.
given     | The {giver} gave {him} the {need}. | The {giver} had a lot of {need} and gave {him} some.
cook      | {H} ran home and made the {meal} with the {need}. | {H} put the {need} in the {meal}.
dine      | {F} came and ate the {meal}. | {F} loved the {meal}.
friends   | From that day on, {H} and {F} were best friends. | {H} and {F} were friends ever after.
moral     | {H} learned that {lesson}. | And so we know that {lesson}.
"""

# Kind of story: its steps in order, and the lessons it may teach. A step in brackets is told in the long form only.
STORIES: Final = {
    "lost": ("treasure outing drop sad comes (asks) (where) tool reach glad (thanks) (play)",
             "it is good to ask for help|friends help each other"),
    "broken": ("treasure outing crack sad comes (asks) (which) mender mend glad (thanks) (play)",
               "broken things can be fixed|friends help each other"),
    "share": ("food carry meets hungry (why) (because) half eat fglad (fthanks)",
              "it is good to share|food tastes better with a friend"),
    "cold": ("cloth winter meets cold (areyou) (yes) wrap warm (fthanks) gift keep",
             "kind hearts keep us warm|it is good to give"),
    "noise": ("noise afraid friend call tell letus light source only glad",
              "it is good to be brave|the dark is not so bad"),
    "skill": ("want try cannot sad comes (asks) (admit) teach days can glad (thanks)",
              "we must never give up|practice makes us better"),
    "astray": ("search full astray afraid comes asks confess lead back glad thanks reward",
               "it is good to ask for help|it is wise to stay on the path"),
    "quarrel": ("treasure outing meets grab angry mine sorry return share fglad play",
                "it is good to share|it is good to forgive"),
    "dish": ("friend plan lack sad goto beg given cook dine fthanks glad",
             "it is good to ask for help|a meal is better with a friend"),
}
LONG_ONLY: Final = frozenset({"noise", "astray", "quarrel", "dish"})

# Slots whose words go together, and every combination that makes sense.
TOGETHER: Final = {
    ("toy", "part"): "truck wheel|wagon wheel|train wheel|bike wheel|kite tail|horse tail|dragon tail|boat sail|"
                     "ship sail|doll arm|robot arm|puppet arm",
    ("spot", "moved", "to"): "pond fell into|lake fell into|well fell into|hole fell into|tree flew into|"
                             "roof flew onto|cave rolled into|cellar rolled into",
    ("spot", "at"): "pond in|lake in|well in|hole in|tree in|roof on|cave in|cellar in",
    ("spot", "tool"): "pond net|pond canoe|lake net|lake canoe|well rope|well hook|hole rope|hole hook|tree ladder|"
                      "tree pole|roof ladder|roof pole|cave lamp|cave candle|cellar lamp|cellar candle",
    ("source", "with"): "squirrel nut|puppy bone|kitten ball|bird seed|crab shell|monkey drum",
    ("skill", "ground"): "swim lake|dive lake|climb hill|jump hill|sing school|dance school|skate pond|run field",
    ("skill", "master"): "swim a fish|dive a fish|climb a monkey|jump a frog|sing a bird|dance a star|skate a swan|"
                         "run the wind",
    ("giver", "need"): "cow milk|hen eggs|bee honey|miller flour|gardener carrots",
}
