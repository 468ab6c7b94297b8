"""Colours, styles, typefaces and their words in captions."""

kBackgrounds = {
    "white": (255, 255, 255),
    "ivory": (250, 243, 221),
    "gray": (158, 162, 168),
    "black": (24, 24, 27),
    "red": (214, 48, 49),
    "orange": (245, 149, 52),
    "yellow": (252, 216, 84),
    "green": (60, 160, 88),
    "mint": (190, 234, 208),
    "teal": (26, 140, 140),
    "sky blue": (160, 212, 245),
    "blue": (44, 104, 214),
    "navy": (24, 40, 92),
    "purple": (124, 74, 184),
    "pink": (250, 184, 206),
    "brown": (128, 84, 52),
}
kBackgroundWords = {
    "ivory": ["ivory", "ivory", "cream"],
    "gray": ["gray", "grey"],
    "sky blue": ["sky blue", "light blue"],
    "navy": ["navy", "dark blue"],
    "mint": ["mint", "mint", "light green"],
}
kLight = ["white", "white", "ivory", "yellow", "mint", "sky blue", "pink"]
kColors = {
    "red": (222, 42, 46),
    "orange": (246, 138, 30),
    "yellow": (250, 206, 40),
    "green": (46, 160, 70),
    "blue": (36, 100, 222),
    "purple": (134, 66, 190),
    "pink": (244, 124, 172),
    "brown": (130, 80, 44),
    "black": (30, 30, 34),
    "white": (246, 246, 246),
    "gray": (140, 144, 150),
}
kStyles = ["noto", "fluent", "twemoji"]
kStyleWords = [["noto", "noto", "glossy"], ["fluent", "fluent", "flat"], ["twemoji", "twemoji", "simple"]]
kDefaultStyle = kStyles.index("fluent")  # of captions that name none: flat shapes, one light
kFonts = ["sans", "serif", "typewriter", "rounded", "condensed"]
kNoArticle = set(
    "grapes cherries broccoli corn bread cheese fries popcorn spaghetti sushi chocolate candy honey "
    "milk coffee beer fire lightning jeans gloves socks headphones scissors".split()
)

