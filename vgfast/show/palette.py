"""The colours of pictures: of Okabe and Ito's palette, whose colours differ for the colour-blind too."""

BLUE, ORANGE, RED, GREEN, SKY, PINK = "#0072b2", "#e69f00", "#d55e00", "#009e73", "#56b4e9", "#cc79a7"
GREY = "#cccccc"
# With a shape each for print in grey.
MARKS = ((BLUE, "o"), (ORANGE, "s"), (RED, "D"), (GREEN, "^"), (SKY, "v"), (PINK, "P"))
