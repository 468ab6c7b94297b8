"""The judged prompts: prompts_judged.jsonl, made by a grammar that shares no phrasing with the training's.

    judging_grammar.py            writes both files
    judging_grammar.py --check    fails if one is stale, or if a phrasing or a word of the first is one of the training's

The second file, prompts_fresh.jsonl, is made of judging_fresh.json, phrasings of somebody who had seen neither the
captions nor the first file's, written when the captions were done: what they share with the captions is chance.

Sets: "words" (a word alone), "objects" (one object), "beside" (a word and an object); and for information
"colors", "places", "counts". "expect" says what judge.py should find; a style that is left out is the default
one. The lines are such as `intaglio eval run --prompts` takes.
"""

import argparse
import json
import random
import re
import sys

import wording
from palette import kBackgrounds, kBackgroundWords, kColors, kFonts, kNoArticle, kStyles, kStyleWords
from scenes import SceneMaker, contrast, known_words, kHere, load_objects, words_of

kOut = kHere / "prompts_judged.jsonl"
kFreshOut = kHere / "prompts_fresh.jsonl"
kCount = {"words": 256, "objects": 256, "beside": 256, "colors": 64, "places": 64, "counts": 64}

# {w} a word as quoted, {f} a typeface, {c} a colour, {g} a ground.
kWords = [
    "please write {w} in bold letters", "could you write the word {w} for me", "a banner reading {w}", "a banner bearing {w}", "a plaque with {w}", "print {w}", "the lettering reads {w}",
    "{w} spelled out in {c}", "spell {w}", "just the word {w}, nothing else", "I would like a picture that has {w} on it", "a headline: {w}", "a neon sign, {w}",
    "{w}, bold {f} lettering", "{w} as a logo, {c}", "a shop sign, {w}, painted {c}", "typography: {w} set in {f}", "title page {w}", "{c} lettering, {w}",
    "can I get {w} in {f} please", "a badge, text reads {w}", "make it say {w}", "give me {w} using a {f} face", "my sign should say {w}", "a tag on which stands {w}",
    "{c} {f} text reading {w}", "a greeting, {w}, across the middle", "a caption, {w}", "let it read {w}", "display {w} using {c} ink", "the inscription {w}", "a neat wordmark {w}",
]
kWordGrounds = ["{x}, {g} backdrop", "{x}, {g} behind it", "{x}. The backdrop should be {g}", "{x} over {g} paper", "{g} backdrop: {x}"]
# {a} an object with its article, {n} without; {s} a style.
kObjects = [
    "could you draw {a}?", "i would love to see {a}", "just {a}, nothing else", "give me {a}", "there is {a}", "this is {a}", "my {n}", "let's have {a}", "a lovely {n}",
    "what about {a}", "{a} for my daughter", "a portrait of {a}", "a sketch of {a}", "a logo showing {a}", "a lonely {n}", "{n} please", "one {n} all by itself", "{a} as an app symbol",
    "just an ordinary {n}", "imagine {a}", "{a} facing us", "a friendly {n}", "something like {a}", "clipart {n}", "depict {a}", "a stamp that shows {a}", "can you make {a}",
    "a picture where we find {a}", "I need {a} for a website", "{a}, nothing more", "look, {a}", "a fresh {n}",
]
kStyled = ["{x}, rendered {s}", "{x}, with the {s} look", "a {s} rendering, {x}", "{x} the {s} way"]
kObjectGrounds = ["{x}, {g} backdrop", "{x} before {g} walls", "{x}, with {g} behind it", "{x}. The backdrop should be {g}", "{x} over {g} paper"]
kBeside = [
    "{a} holding up {w}", "{a} captioned {w}", "{w} written underneath {a}", "{a}, with {w} printed underneath", "a logo made of {a} and the wordmark {w}", "{a} whose label reads {w}",
    "a flyer: {a} plus the line {w}", "first {a}, then {w} underneath", "{a} accompanied by {w}", "{a} alongside {w}", "there is {a} and underneath stands {w}", "the brand {w} and its {n}",
    "{w} is written over {a}", "{w} as a headline, {a} underneath", "{a} with a caption reading {w}", "my {n}, known as {w}", "{a}; the text under the {n} is {w}", "{w} up top, {a} down below",
    "{a} presents {w}", "could you put {w} beside {a}", "{a} right beside {w}", "a badge showing {a} and reading {w}", "{a}. It should say {w}", "a stamp with {a}, inscribed {w}",
]
kColored = ["could you paint {a} {c}", "{a}, all {c}", "a {n} colored {c}", "give me {c} {n}", "{a} but make it {c}", "{c}, that's the color of my {n}"]
kPlaced = {
    "left": ["{a} over to the left", "{a} near the left edge", "put {a} on the left-hand side"],
    "right": ["{a} over to the right", "{a} near the right edge", "put {a} on the right-hand side"],
    "top": ["{a} up near the top edge", "put {a} high up, at the top"],
    "bottom": ["{a} down near the bottom edge", "put {a} low, at the bottom"],
    "top left": ["put {a} into the top left corner", "{a} tucked up in the upper left corner"],
    "top right": ["put {a} into the top right corner", "{a} tucked up in the upper right corner"],
    "bottom left": ["put {a} into the bottom left corner", "{a} tucked down in the lower left corner"],
    "bottom right": ["put {a} into the bottom right corner", "{a} tucked down in the lower right corner"],
}
kCounted = ["could you draw {k} {n}?", "i see {k} {n}", "exactly {k} {n}", "{k} {n} sitting here", "give me {k} {n}"]

# Of these the words that the training's list has are left out.
kVocabulary = """
ABOVE ACORN ADMIT AGENDA ALBUM ALMOND ALPHA AMAZING AMBER AMIGO ANVIL APRIL ARCADE ARENA ARIA ATLAS AUGUST AURORA AVENUE AZURE BAKERY BALCONY BANJO BARGAIN BASIL BAZAAR BEACON BEHOLD
BERLIN BISTRO BLANKET BLAZE BLINK BLUSH BONJOUR BOOTH BOULDER BRAVO BREEZE BREW BRICK BRISK BROOK BROWSE BUBBLE BUDGET BUFFET BUREAU CABLE CAFE CANYON CAPTAIN CARGO CAUTION CEDAR
CELLAR CHANCE CHAPTER CHARM CHEF CIAO CINEMA CITRUS CLASSIC CLAY CLEVER CLIFF COBALT COMET COPPER CORAL COSMOS COTTAGE COZY CRAFT CREST CRISP CUPID CURIOUS CYCLONE DAILY DANGER DAWN
DEBUT DELTA DEPOT DETOUR DIGITAL DINER DOMINO DOZEN DREAMS DRIFT DUNE DUSK EAGER ECHO ECLAIR EDITION ELEGANT EMBER ENJOY ENTRY EPIC EQUINOX ESCAPE ESSAY ETHOS EVENING EXIT EXOTIC
FABLE FABRIC FANTASY FARM FEAST FERN FESTIVAL FINALE FJORD FLINT FOREST FORTUNE FOSSIL FOUNDRY FRESH FROST FUTURE GALAXY GALLERY GAZETTE GECKO GINGER GLACIER GLIMMER GOODBYE GRANITE
GRAVITY GROCERY GROOVE GROVE HABITAT HAMLET HARBOR HARVEST HAVEN HAZEL HELIUM HERALD HERITAGE HICKORY HOLLOW HORIZON HUMBLE HYBRID ICON IGLOO INDIGO INSIGHT ISLAND IVORY JASMINE JAZZ JIGSAW
JOURNEY JUBILEE JULY JUMBO JUNE JUNGLE JUPITER KARMA KAYAK KERNEL KETTLE KINDLE KIOSK LAGOON LANTERN LATTE LAVA LAVENDER LEGEND LIBRARY LILAC LINEN LOUNGE LUNCH LYRIC MADRID MAGMA MAHOGANY MANGO MARBLE MARCH
MARKET MAYOR MEADOW MELODY MENU MERCURY METEOR METRO MILAN MIRAGE MOCHA MODERN MOSAIC MUSEUM MYSTERY MYTH NAPKIN NEBULA NECTAR NEON NEPTUNE NIMBUS NINJA NOBLE NOMAD NORTH NOVEL NUTMEG OASIS
OCEAN OLIVE ONYX OPAL OPERA ORBIT ORCHARD ORIGAMI OSLO OXYGEN PALACE PAPAYA PAPRIKA PARADE PARIS PATIO PEBBLE PEPPER PETAL PIONEER PISTON PIVOT PIXEL PLAZA PLUM POETRY POLAR PONDER PORTAL PRAIRIE PREMIUM
PRISM PROFIT PULSAR PUZZLED QUAINT QUARRY QUARTET QUEST QUICK QUILT QUOTA RADIANT RALLY RANCH RAPID RAVEN RECIPE REGATTA RELAX RENTAL RESORT REVIEW RHYTHM RIDDLE RIPPLE RIVER RODEO ROUTINE RUSTIC SAFARI SAFFRON
SALON SALSA SATURN SAVANNA SCENIC SEASIDE SEPIA SESAME SHELTER SHIMMER SIERRA SIGNAL SILK SKETCH SKYLINE SOLAR SONATA SOUTH SPARK SPECTRUM SPICE SPLASH SPRUCE STATION STELLAR STUDIO SUBWAY SUMMIT SUNDAY SUPERB
TANGO TAVERN TEMPO TERRACE THICKET THUNDER TIMBER TOFFEE TOKYO TOPAZ TORCH TOTEM TRAVEL TREATY TRELLIS TROPIC TUESDAY TUNDRA TUNNEL TURBINE UMBRA UNIQUE UPTOWN URBAN UTOPIA VANILLA VAPOR VELVET VENUE VERMONT
VERTEX VIENNA VILLA VINTAGE VISIT VISTA VOLT VORTEX VOYAGE WALNUT WALTZ WELCOME WESTERN WHISPER WICKED WILLOW WINDMILL WISDOM WONDER WORKSHOP YACHT YODEL YONDER ZENITH ZEPHYR ZIGZAG ZODIAC ZONE
"""


def own_tables():
    return {"words": kWords, "word grounds": kWordGrounds, "objects": kObjects, "styled": kStyled, "grounds": kObjectGrounds, "beside": kBeside, "colored": kColored,
            "placed": kPlaced, "counted": kCounted, "vocabulary": kVocabulary.split()}


def fresh_tables():
    tables = json.loads((kHere / "judging_fresh.json").read_text())
    return {**tables, "word grounds": tables["grounds"]}


class Grammar:
    def __init__(self, seed, tables):
        self.rng = random.Random(seed)
        self.tables = tables
        taken = {*(kHere / "words.txt").read_text().split(), *(line.split("\t")[1] for line in (kHere / "prompts_words.tsv").read_text().splitlines()[1:])}
        known = known_words()
        self.words = sorted({w for w in tables["vocabulary"] if w not in taken and w.lower() not in known and 2 <= len(w) <= 8})
        self.rng.shuffle(self.words)
        self.decks = {}

    def deal(self, name, cards):
        """Each card once before any comes again."""
        deck = self.decks.setdefault(name, [])
        if not deck:
            deck += self.rng.sample(list(cards), len(cards))
        return deck.pop()

    def ground(self):
        name = self.rng.choice(list(kBackgrounds))
        return name, self.rng.choice(kBackgroundWords.get(name, [name]))

    def quoted(self, word):
        x = self.rng.random()
        if x > 0.9:
            return f'"{word.lower() if x > 0.95 else word.capitalize()}"'
        return f"“{word}”" if x < 0.08 else f"'{word}'" if x < 0.16 else word if x < 0.22 else f'"{word}"'

    def finish(self, text):
        x = self.rng.random()
        text = text[0].upper() + text[1:] if x < 0.4 else text
        return text + "." if text[-1].isalnum() and self.rng.random() < 0.25 else text

    def object(self, color=None):
        name = self.deal("objects", load_objects())
        bare = f"{color} {name}" if color else name
        return name, bare, bare if name in kNoArticle else f"{wording.article(bare)} {bare}"

    def words_prompt(self):
        word = self.deal("words", self.words)
        form = self.deal("word forms", self.tables["words"])
        name, ground = self.ground() if self.rng.random() < 0.4 else ("white", None)
        fits = [c for c in kColors if contrast(kColors[c], kBackgrounds[name]) > 2.2]
        text = form.format(w=self.quoted(word), f=self.rng.choice(kFonts), c=self.rng.choice(fits))
        if ground:
            text = self.rng.choice(self.tables["word grounds"]).format(x=text, g=ground)
        return text, {"text": word}

    def objects_prompt(self):
        name, bare, named = self.object()
        text = self.deal("object forms", self.tables["objects"]).format(a=named, n=bare)
        expect = {"object": name}
        if self.rng.random() < 0.25:
            style = self.rng.randrange(len(kStyles))
            text = self.rng.choice(self.tables["styled"]).format(x=text, s=self.rng.choice(kStyleWords[style]))
            expect["style"] = kStyles[style]
        elif self.rng.random() < 0.5:
            text = self.rng.choice(self.tables["grounds"]).format(x=text, g=self.ground()[1])
        return text, expect

    def beside_prompt(self):
        word = self.deal("words", self.words)
        name, bare, named = self.object()
        text = self.deal("beside forms", self.tables["beside"]).format(w=self.quoted(word), a=named, n=bare)
        if self.rng.random() < 0.3:
            text = self.rng.choice(self.tables["grounds"]).format(x=text, g=self.ground()[1])
        return text, {"text": word, "object": name}

    def colors_prompt(self):
        name, bare, named = self.object()
        color = self.rng.choice(list(kColors))
        return self.deal("color forms", self.tables["colored"]).format(a=named, n=bare, c=color), {"object": name, "color": color}

    def places_prompt(self):
        name, bare, named = self.object()
        place = self.deal("places", list(self.tables["placed"]))
        return self.rng.choice(self.tables["placed"][place]).format(a=named), {"object": name, "place": place}

    def counts_prompt(self):
        name = next(n for n in iter(lambda: self.deal("objects", load_objects()), None) if n not in kNoArticle)
        count = self.rng.choice([2, 3, 4])
        word = self.rng.choice(["", "two 2", "three 3", "four 4"][count - 1].split())
        return self.deal("count forms", self.tables["counted"]).format(k=word, n=wording.plural(name)), {"object": name, "count": count}

    def all(self):
        number = 0
        for kind, count in kCount.items():
            for _ in range(count):
                text, expect = getattr(self, f"{kind}_prompt")()
                yield {"prompt": self.finish(text), "seed": number, "expect": {"set": kind, **expect}}
                number += 1


def pairs(text):
    """Neighbouring words, slots as one letter, quotes and stops left out."""
    words = re.findall(r"\{\w\}|[a-z]+(?:'[a-z]+)?|\d", text.lower())
    return set(zip(["<", *words], [*words, ">"]))


def shared(own, theirs):
    """Own phrasings of which no pair of words is new to their texts, or which are one of theirs."""
    seen = set().union(*map(pairs, theirs))
    return [form for form in own if form in theirs or pairs(form) <= seen]


def own_forms():
    for name, value in globals().items():
        if name in ("kWords", "kWordGrounds", "kObjects", "kStyled", "kObjectGrounds", "kBeside", "kColored", "kCounted"):
            yield from value
    for forms in kPlaced.values():
        yield from forms


def problems(prompts):
    """What makes the prompts anything but independent of the training, a line each."""
    out = []
    theirs = [text for name, value in vars(wording).items() if re.match("k[A-Z]", name) for text in texts_of(value)]
    out += [f"the training has the phrasing too: {form}" for form in shared(list(own_forms()), theirs)]
    things = {name for name in texts_of([load_objects(), wording.kOtherNames]) if " " not in name}
    for form in own_forms():
        if found := words_of(form) & things:
            out.append(f"{form}: names an object: {', '.join(found)}")
    trained = set((kHere / "words.txt").read_text().split())
    out += [f"{p['expect']['text']}: a word of the training" for p in prompts if p["expect"].get("text") in trained]
    # Drawn captions, whole.
    maker = SceneMaker([[40.0] * 36] * len(kFonts))
    maker.seed(9)
    drawn = {text.lower().rstrip(".!") for text in captions(maker, 20000)}
    out += [f"a caption of the training: {p['prompt']}" for p in prompts if p["prompt"].lower().rstrip(".!") in drawn]
    return out


def texts_of(value):
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return [text for one in value for text in texts_of(one)] if isinstance(value, (list, tuple)) else []


def captions(maker, count):
    class Nothing(dict):
        def __missing__(self, key):
            return self

        def __setitem__(self, key, value):
            pass

    return [maker.fill(Nothing(), 0) for _ in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    judged, fresh = list(Grammar(2027, own_tables()).all()), list(Grammar(2028, fresh_tables()).all())
    wrong = problems(judged)
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        sys.exit(1)
    for out, prompts in (kOut, judged), (kFreshOut, fresh):
        lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in prompts)
        if args.check and (not out.exists() or out.read_text() != lines):
            sys.exit(f"{out} is stale; run python3 training/judging_grammar.py")
        if not args.check:
            out.write_text(lines)


if __name__ == "__main__":
    main()
