"""How the training's captions word a picture: every phrasing as a table, and the names that fill it.

Slots: {a}, {b}, {c} are objects ("a red apple"), {n} objects of one kind ("two cats"), {w} a word as it is
quoted, {p} a word with all that is said of it, {x} a sentence. judging_grammar.py uses none of these.
"""

import re

# ---------------------------------------------------------------- names

kOtherNames = {
    "doughnut": ["donut"], "airplane": ["plane"], "bicycle": ["bike"], "motorcycle": ["motorbike"],
    "television": ["tv"], "gift": ["present"], "hamburger": ["burger"], "rabbit": ["bunny"],
    "phone": ["smartphone", "mobile phone"], "necktie": ["tie"], "eggplant": ["aubergine"],
    "flying saucer": ["ufo"], "birthday cake": ["cake"], "soccer ball": ["football"],
    "fire engine": ["fire truck"], "racing car": ["race car"], "smiling face": ["smiley", "happy face"],
    "crying face": ["sad face"], "lightning": ["lightning bolt"], "water drop": ["drop of water"],
    "laptop": ["computer"], "globe": ["earth"], "wine glass": ["glass of wine"], "coffee": ["cup of coffee"],
    "milk": ["glass of milk"], "beer": ["mug of beer"], "handbag": ["purse"], "snake": ["serpent"],
    "truck": ["lorry"], "ship": ["boat"], "fries": ["french fries"], "cat": ["kitten", "kitty"],
    "dog": ["puppy"], "watch": ["wristwatch"], "diamond": ["gem"], "maple leaf": ["leaf"],
}
kColorNames = {"gray": ["gray", "grey"], "purple": ["purple", "purple", "violet"]}
kFontNames = {
    "sans": ["sans", "sans", "sans serif", "plain"], "serif": ["serif"], "typewriter": ["typewriter", "typewriter", "monospace"],
    "rounded": ["rounded", "rounded", "round"], "condensed": ["condensed", "condensed", "narrow"],
}
kSizeNames = [("small", "third"), ("little", "third"), ("tiny", "tiny"), ("big", "big"), ("large", "big"), ("huge", "big")]
kPraise = ["cute", "nice", "beautiful", "pretty", "funny", "cool", "happy"]
kPlurals = {
    "mouse": "mice", "wolf": "wolves", "knife": "knives", "sheep": "sheep", "deer": "deer", "fish": "fish", "dice": "dice",
    "maple leaf": "maple leaves", "water drop": "water drops", "leaf": "leaves", "octopus": "octopuses", "cactus": "cacti", "glass of wine": "glasses of wine",
    "cup of coffee": "cups of coffee", "glass of milk": "glasses of milk", "mug of beer": "mugs of beer",
    "drop of water": "drops of water", "tomato": "tomatoes", "volcano": "volcanoes", "lightning": "lightnings",
}
kCounts = {
    2: ["two", "two", "two", "2", "a pair of", "a couple of"],
    3: ["three", "three", "three", "3"],
    4: ["four", "four", "four", "4"],
}
kColorAfter = [" in {color}", " that is {color}", " of {color} color", " painted {color}", " tinted {color}", ", {color}", ", in {color}", ", painted {color}", " coloured {color}", " dyed {color}"]
kArticles = ["a", "an", "the", "some", "one", "a single"]
kSome = ["some", "several", "a few", "many", ""]  # of one kind: three are drawn


def plural(name):
    if name in kPlurals:
        return kPlurals[name]
    if re.search("(s|x|z|ch|sh)$", name):
        return name + "es"
    return re.sub("(?<=[^aeiou])y$", "ie", name) + "s"


def article(words):
    return "an" if re.match("hour|[aeio]|u(?!ni|f)", words) else "a"


# ---------------------------------------------------------------- objects

kOne = {
    "middle": ["{a}"] * 12 + ["{a} in the center", "{a} in the middle", "{a} centered", "{a} in the centre", "in the middle {a}", "{a} in the middle of the picture",
                              "{a} alone", "only {a}", "a picture with {a}"],
    "left": ["{a} on the left", "{a} on the left side", "on the left {a}", "{a} at the left", "on the left side, {a}", "{a} close to the left side", "{a} at the left border", "{a} far left"],
    "right": ["{a} on the right", "{a} on the right side", "on the right {a}", "{a} at the right", "on the right side, {a}", "{a} close to the right side", "{a} at the right border", "{a} far right"],
    "top": ["{a} at the top", "at the top {a}", "{a} at the top of the picture", "{a} on top", "{a} close to the top", "{a} at the top border", "{a} high up"],
    "bottom": ["{a} at the bottom", "at the bottom {a}", "{a} at the bottom of the picture", "{a} down at the bottom", "{a} close to the bottom", "{a} at the bottom border", "{a} low down"],
    **{f"{v} {h}": [f"{{a}} in the {v} {h} corner", f"{{a}} at the {v} {h}", f"{{a}} in the {u} {h} corner", f"{{a}} {v} {h}", f"in the {v} {h} corner {{a}}", f"{{a}} close to the {v} {h} corner", f"place {{a}} in the {v} {h} corner", f"{{a}} right in the {u} {h} corner", f"{{a}} far {u} {h}"]
       for v, u in (("top", "upper"), ("bottom", "lower")) for h in ("left", "right")},
}
kPairAcross = [
    "{a} on the left of {b}", "{a} to the left of {b}", "{b} to the right of {a}", "{b} on the right of {a}", "{a} left of {b}", "{b} right of {a}",
    "{a} on the left and {b} on the right", "{a} on the left, {b} on the right", "on the left {a}, on the right {b}", "{a} left, {b} right",
    "{a} on the left side and {b} on the right side", "{a} next to {b}", "{a} beside {b}", "{a} and {b}", "{a} and {b}", "{a} and {b}", "{a} with {b}", "{a}, {b}",
    "{a} & {b}", "{a} plus {b}", "{a} together with {b}", "{a} and {b} side by side", "{a} near {b}", "{a} by {b}", "{a} and also {b}",
]
kPairDown = [
    "{a} above {b}", "{b} below {a}", "{b} under {a}", "{a} at the top and {b} at the bottom", "{a} at the top, {b} at the bottom", "{a} over {b}",
    "{a} on top of {b}", "{b} beneath {a}", "at the top {a}, at the bottom {b}", "{a} on top, {b} below", "{a} above and {b} below",
]
kTripleAcross = [
    "{a}, {b} and {c}", "{a}, {b}, {c}", "{a}, {b}, and {c}", "{a} and {b} and {c}", "{a}, {b} and {c} in a row", "a row of {a}, {b} and {c}",
    "{a} on the left, {b} in the middle and {c} on the right", "{a}, {b} and {c} from left to right", "{a} left, {b} in the middle, {c} right",
]
kTripleDown = [
    "{a}, {b} and {c} in a column", "{a}, {b} and {c} from top to bottom", "{a} at the top, {b} in the middle and {c} at the bottom", "a stack of {a}, {b} and {c}",
    "{a} above {b} above {c}",
]
kCounted = ["{n}"] * 6 + ["{n} in a row", "a group of {n}", "a picture with {n}", "{n} together", "there are {n}"]

# ---------------------------------------------------------------- words

# Where {w} is last and has words before it, it may stand without quotes.
kWordLeads = [
    "{w}", "{w}", "{w}", "the word {w}", "the word {w}", "the text {w}", "a sign that says {w}", "a sign that says {w}", "a sign saying {w}", "a sign with the word {w}",
    "a sign with {w} on it", "a sign reading {w}", "text that says {w}", "text saying {w}", "a poster that says {w}", "a poster saying {w}", "a poster with the word {w}",
    "a poster with the text {w}", "letters that say {w}", "letters spelling {w}", "the letters {w}", "the name {w}", "a label that says {w}", "a card that says {w}",
    "a logo that says {w}", "a title that says {w}", "lettering that says {w}", "the writing {w}", "write {w}", "it says {w}", "says {w}", "the word {w} written",
]
kWordColored = ["{lead} in {color}", "{lead} in {color} letters", "{lead} in {color} letters", "{lead} in {color} text", "{lead}, {color}", "{lead}, {color} letters",
                "{color} letters that say {w}", "{color} letters saying {w}", "{color} text saying {w}", "{lead} written in {color}", "the {color} word {w}", "{color} text {w}"]
kWordSet = ["{lead} in {font} letters", "{lead} in {font} letters", "{lead} in a {font} font", "{lead} in a {font} typeface", "{lead} in {font} type", "{lead}, {font} font",
            "{font} letters saying {w}", "{font} letters that say {w}", "{lead} in {font}", "{font} text {w}", "{lead} written in {font} letters"]
kWordColoredSet = ["{lead} in {color} {font} letters", "{lead} in {color} {font} letters", "{lead} written in {color} {font} letters", "{color} {font} letters that say {w}",
                   "{color} {font} letters saying {w}", "{lead} in {font} {color} letters", "{lead} in a {color} {font} font", "{lead} in {color} in a {font} font",
                   "{lead}, {color}, {font} font", "{lead} in {color} {font} type", "{lead} in {color} {font} text", "{lead} in {color} {font} capitals"]
kWordAt = {
    "middle": ["{p}"] * 8 + ["{p} in the center", "{p} in the middle", "{p} centered", "in the middle {p}"],
    "top": ["{p} at the top", "at the top {p}", "{p} at the top of the picture", "{p} on top"],
    "bottom": ["{p} at the bottom", "at the bottom {p}", "{p} at the bottom of the picture"],
}
kWordAbove = [
    "{p} above {a}", "{p} over {a}", "{a} with {p} at the top", "{a} below {p}", "{a} under {p}", "{p} at the top and {a} at the bottom", "{p} on top of {a}",
    "{a} with {p} above it", "{a} with {p} on top", "{a} and {p} above it", "{a} and above it {p}", "at the top {p}, below {a}", "{a} beneath {p}", "{p}, under it {a}",
]
# A word with or beside an object, with nothing said of where, stands below it.
kWordBelow = [
    "{p} below {a}", "{p} under {a}", "{p} beneath {a}", "{a} with {p} at the bottom", "{a} above {p}", "{a} over {p}", "{a} with {p} below it", "{a} with {p} under it",
    "{a} and {p} under it", "{a} and below it {p}", "{a} at the top and {p} at the bottom", "{a} on top of {p}", "{a} with {p} beneath", "{a}, below it {p}",
]
kWordWith = [
    "{a} with {p}", "{a} with {p}", "{a} and {p}", "{p} and {a}", "{p} with {a}", "{p} next to {a}", "{a} next to {p}", "{p} beside {a}", "{a} beside {p}", "{a}, {p}", "{p}, {a}",
    "{p} near {a}", "{a} together with {p}", "{a} plus {p}", "{a} & {p}", "{p} by {a}",
]
kObjectSays = ["{a} that says {w}", "{a} saying {w}", "{a} with the word {w}", "{a} with the text {w}", "{a} labeled {w}", "{a} and the word {w}", "{a} named {w}", "{a} called {w}",
               "{a} with {w} written below", "{a} with the name {w}", "{a} says {w}"]

# ---------------------------------------------------------------- sentences

kFrames = [
    "a picture of {x}", "a picture of {x}", "an image of {x}", "an icon of {x}", "a drawing of {x}", "an illustration of {x}", "a cartoon of {x}", "a sticker of {x}",
    "an emoji of {x}", "clip art of {x}", "a painting of {x}", "picture of {x}", "image of {x}", "drawing of {x}", "draw {x}", "draw me {x}", "show {x}", "show me {x}",
    "paint {x}", "make {x}", "create {x}", "generate {x}", "i want {x}", "please draw {x}", "we see {x}", "{x} as a sticker", "{x} as an icon", "{x} as an emoji", "{x} as a drawing",
    "{x} for a book", "{x} for my page", "{x} by itself", "simply {x}", "may i have {x}",
]
# What people say before they ask: nothing of it is drawn.
kOpenings = [
    "hey, {x}", "hi, {x}", "hello, {x}", "ok, {x}", "okay, {x}", "so, {x}", "well, {x}", "now, {x}", "wow, {x}", "yes, {x}", "please, {x}", "here, {x}", "oh, {x}", "hello! {x}", "picture: {x}", "image: {x}",
    "icon: {x}", "drawing: {x}", "today: {x}", "next, {x}", "a picture, {x}", "an image, {x}", "an icon, {x}", "a drawing, {x}", "a sticker, {x}", "an emoji: {x}", "prompt: {x}", "my wish: {x}",
]
kGrounds = [
    "{x} on {an} {g} background", "{x} on {an} {g} background", "{x} on {an} {g} background", "{x}, {g} background", "{x}, {g} background", "{x} with {an} {g} background",
    "{x} against {an} {g} background", "{x} on {g}", "{x} on {g} ground", "{x} on a plain {g} background", "{x} on a solid {g} background", "{x} in front of {an} {g} background",
    "{x}, background {g}", "{x}, the background is {g}", "on {an} {g} background, {x}", "on {an} {g} background {x}", "{x}, on {g}", "{x} and {an} {g} background",
]
kStyled = [
    "in {s} style, {x}", "{x} in {s} style", "{x} in {s} style", "{x} in {s} style", "{x}, {s} style", "{x} in a {s} style", "{x}, {s}", "{s} style, {x}", "{x} drawn in {s} style",
    "a {s} icon of {x}", "a {s} drawing of {x}", "a {s} picture of {x}", "a {s} icon, {x}", "a {s} drawing, {x}", "a {s} picture, {x}", "{s} icon, {x}", "{s} picture: {x}", "a {s} version of {x}",
    "{s} version, {x}", "{x} as {s} art", "{x}, {s} version", "{s} art: {x}", "{x} in the {s} manner",
]
# {u}: words that mean nothing, to be passed over wherever they stand.
kStyledStrange = ["a {s} {u}, {x}", "{s} {u}, {x}", "{s} {u}: {x}", "{x}, {u} {s}", "{x} the {s} {u}", "{x} with the {s} {u}", "{x}, {s} {u}", "a {s} {u} of {x}", "{x} as a {s} {u}"]
# A colour at the end with no stop before it is the object's; one with a stop before it or a word behind it is the ground's.
kGroundsStrange = [
    "{x} {u} {g} {u}", "{x} {u} {g} {u}", "{x}, {u} {g} {u}", "{x}, {g} {u}", "{x}, {g} {u}", "{x} {g} {u}", "{x}. {u} {g}", "{x}. {u} {u} {g}", "{x}. the {u} {u} {g}", "{x}; {u} {g}", "{x} ({u} {g})", "{x} - {u} {g}",
    "{g} {u}, {x}", "{g} {u}: {x}", "{u} {g} {u}, {x}", "{u} {g} {u}: {x}", "{x} with {g} {u}", "{x}, with {g} {u}", "{x} on {g} {u}", "{x} in front of {g} {u}", "{x}, {g} {u} {u}", "{x} {u} {an} {g} {u}", "{x} and {u} {g} {u}",
]
# An object and a word, joined by what means nothing: the word stands below.
kWordWithStrange = [
    "{a} {u} {p}", "{a} {u} {p}", "{a} {u} {u} {p}", "{a}, {u} {p}", "{a}; {u} {p}", "{a}. {u} {p}", "{a}: {u} {p}", "{a} - {u} {p}", "{p} {u} {a}", "{p} {u} {u} {a}", "{p}, {u} {a}", "{p}; {u} {a}", "{p}: {u} {a}",
    "{u} {a} {u} {p}", "{u} {p} {u} {a}", "{u} {a}, {u} {p}", "{u}, {a} and {u} {p}", "{a} and {u} {p}", "{a} with {u} {p}", "{a} {u} with {p}", "{u} {a} {p}", "{p} and {u} {a}", "{a} {u}, {p}", "{a} {p} {u}",
    "{u}: {a} {u} {p}", "{u}: {a}, {p}", "{a} and the {u} {p}", "{a} with the {u} {p}", "the {u} {p} {u} {a}",
]
kWordLeadsStrange = ["{u} {w}", "{u} {w}", "{u} {u} {w}", "the {u} {w}", "a {u} {u} {w}", "{u}, {w}", "{u}: {w}", "{w} {u}", "{w}, {u}", "a {u} with {w}", "a {u} that says {w}", "a {u} {w} {u}", "{w} on a {u}"]
kColorStrange = [" {u} {color}", " {u} {color}", ", {u} {color}", " {u} {u} {color}", " in {u} {color}", " and {u} {color}"]
kSetStrange = ["{lead} {u} {face}", "{lead}, {u} {face}", "{face} {u} {w}", "{u} {face} {u} {w}", "{lead} in {u} {face} letters", "{face} letters, {u} {w}", "{lead} {u} {face} letters"]
kPlaceStrange = ["{a} {u} {at}", "{a} {u} the {at}", "{u} {a} {u} {at}", "{a} {u} the {at} {u}", "{a}, {u} {at}", "{u} {at}, {a}", "{a} {at} {u}", "{u} {a} at the {at} {u}", "{u} {a} {u} the {at} {u}"]
kCountedStrange = ["{u} {n}", "{n} {u}", "{u} {n} {u}", "{n}, {u}", "{u}, {n}"]
kStrange = ["{x}, {u}", "{x}, {u}", "{x} {u}", "{x} {u}", "{u} {x}", "{u} {x}", "{u}, {x}", "{u}, {x}", "{u}, {x}", "{u}: {x}", "{u}! {x}", "a {u}, {x}", "{x} as a {u}", "{x} as {u}", "a {u} of {x}", "{x} for {u}"]
kTails = [", please", ", high quality", ", best quality", ", detailed", ", digital art", ", vector art", ", clean lines", ", isolated", ", cartoon", ", illustration", ", centered",
          ", sharp", ", cute", ", for kids"]

# ---------------------------------------------------------------- Ideogram's JSON

kStyleKeys = ["art_style", "medium", "aesthetics"]
kMedia = ["illustration", "graphic_design", "vector art"]
kJsonGrounds = ["{g} background", "plain {g}", "a {g} background", "solid {g}"]
kJsonKeys = ["high_level_description", "style_description", "compositional_deconstruction", "background", "elements", "type", "obj", "text", "desc"]


class Wording:
    """Chooses among the tables with `rng`. strangers: words that mean nothing here; strange: the share of captions,
    and of each thing said, that hold some; known: what no made-up word may be."""

    kConsonants = ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "br", "ch", "cr", "fl", "gr", "pl", "sh", "st", "th", "tr", "wh"]
    kVowels = ["a", "e", "i", "o", "u", "ai", "ea", "ou", "oo"]
    kEndings = ["", "", "ck", "d", "ed", "er", "es", "ght", "ing", "ld", "ll", "ly", "n", "nd", "ng", "nt", "r", "rd", "s", "se", "st", "t", "y"]

    def __init__(self, rng, strangers=(), strange=0.0, known=frozenset()):
        self.rng, self.strangers, self.strange, self.known = rng, strangers, strange, known

    def choose(self, table, **slots):
        """A phrasing with its slots filled; each {u} has words of its own."""
        form = self.rng.choice(table)
        while "{u}" in form:
            form = form.replace("{u}", self.strange_words(), 1)
        return form.format(**slots)

    def odd(self, times=1.0):
        """Whether what is said next is said with words that mean nothing."""
        return self.strange > 0 and self.rng.random() < self.strange * times

    def strange_words(self):
        return " ".join(self.strange_word() for _ in range(self.rng.choice([1, 1, 2, 3])))

    def strange_word(self):
        r = self.rng
        if r.random() < 0.7:
            return r.choice(self.strangers)
        while True:
            word = "".join(r.choice(self.kConsonants) + r.choice(self.kVowels) for _ in range(r.choice([1, 1, 2]))) + r.choice(self.kEndings)
            if word not in self.known:
                return word

    def name(self, thing):
        """The object's name, now and then another that people use."""
        others = kOtherNames.get(thing)
        return self.rng.choice(others) if others and self.rng.random() < 0.3 else thing

    def color(self, color):
        return self.rng.choice(kColorNames.get(color, [color]))

    def noun(self, name, color, size_word=None, mass=False):
        """"a red apple" with a fitting article, or without one. mass: things without a singular."""
        r = self.rng
        after = ""
        before = [size_word] if size_word else []
        if not size_word and r.random() < 0.07:
            before.append(r.choice(kPraise))
        if color:
            color = self.color(color)
            if r.random() < 0.25:
                after = self.choose(kColorStrange if self.odd() else kColorAfter, color=color)
            else:
                before.append(color)
        words = " ".join([*before, name]) + after
        x = r.random()
        if x < 0.16:
            return words
        if x < 0.22:
            return "the " + words
        if mass:
            return words if x < 0.7 else "some " + words
        if x < 0.25:
            return r.choice(["one ", "a single "]) + words
        return f"{article(words)} {words}"

    def counted(self, name, color, count):
        r = self.rng
        words = f"{self.color(color)} {plural(name)}" if color else plural(name)
        if count == 3 and r.random() < 0.3:
            return f"{r.choice(kSome)} {words}".strip()
        return f"{r.choice(kCounts[count])} {words}"

    def quoted(self, word, bare):
        """The word in one of the quotes that people type. bare: without any, now and then."""
        x = self.rng.random()
        if bare and x < 0.14:
            return word
        return f"“{word}”" if x > 0.95 else f"'{word}'" if x > 0.88 else f'"{word}"'

    def lead(self, word):
        if self.odd():
            return self.choose(kWordLeadsStrange, w=self.quoted(word, False))
        form = self.rng.choice(kWordLeads)
        return form.format(w=self.quoted(word, form.endswith("{w}") and form != "{w}"))

    def word(self, word, color, font):
        """All that is said of a word but for its place."""
        if not color and not font:
            return self.lead(word)
        table = kWordColoredSet if color and font else kWordColored if color else kWordSet
        font = font and self.rng.choice(kFontNames[font])
        color = color and self.color(color)
        if self.odd():
            face = " ".join(x for x in (color, font) if x)
            return self.choose(kSetStrange, lead=self.lead(word), w=self.quoted(word, False), face=face)
        return self.choose(table, lead=self.lead(word), w=self.quoted(word, False), color=color, font=font)

    def one(self, where, a):
        """One object and where it stands."""
        if where != "middle" and self.odd(2):
            at = re.sub("^top (?=.)", self.rng.choice(["top ", "upper "]), where)
            at = re.sub("^bottom (?=.)", self.rng.choice(["bottom ", "lower "]), at)
            return self.choose(kPlaceStrange, a=a, at=at)
        return self.choose(kOne[where], a=a)

    def ground(self, sentence, ground):
        return self.choose(kGroundsStrange if self.odd(2) else kGrounds, x=sentence, g=ground, an=article(ground))

    def finish(self, sentence):
        """Capitals and the full stop, as people set them or do not."""
        r = self.rng
        x = r.random()
        if x < 0.3:
            sentence = sentence[0].upper() + sentence[1:]
        elif x < 0.34 and '"' not in sentence and "'" not in sentence and "“" not in sentence:
            sentence = re.sub(r"(?<![A-Za-z])[a-z]", lambda m: m[0].upper(), sentence)
        x = r.random()
        return sentence + ("." if x < 0.2 else "!" if x < 0.22 else "")
