import { describe, expect, it } from "vitest";
import { boxBetween, freeBox, isBox, kLeast, placeWords, pull, type Box } from "../src/captions/boxes";
import { captionProblem, captionText, emptyCaption, newElement, parseCaption, promptTitle } from "../src/captions/caption";

const kSheet = '{"high_level_description":"A red apple above \\"CAT\\" in red serif letters","compositional_deconstruction":{"background":"yellow","elements":[{"type":"obj","desc":"a red apple, at the top"},{"type":"text","text":"CAT","desc":"bottom, red serif letters"}]}}';

describe("captions", () => {
  it("reads a caption and writes the same bytes", () => {
    expect(captionText(parseCaption(kSheet) ?? emptyCaption(), "boxes")).toBe(kSheet);
  });
  it("writes keys in the order of training, and nothing that is empty", () => {
    const caption = {
      ...emptyCaption(), summary: " A harbour ", style: "photo" as const, lighting: "dusk", look: "85 mm", palette: ["#102030"], background: "sea",
      elements: [{ ...newElement(1, "text", [10, 20, 300, 400]), text: "HELLO", desc: "white", palette: ["#FFFFFF"] }],
    };
    expect(captionText(caption, "boxes")).toBe(
      '{"high_level_description":"A harbour","style_description":{"lighting":"dusk","photo":"85 mm","medium":"photograph","color_palette":["#102030"]},' +
        '"compositional_deconstruction":{"background":"sea","elements":[{"type":"text","bbox":[10,20,300,400],"text":"HELLO","desc":"white","color_palette":["#FFFFFF"]}]}}',
    );
  });
  it("tells places in words to models that know no boxes", () => {
    const caption = { ...emptyCaption(), elements: [{ ...newElement(1, "obj", [0, 100, 300, 900]), desc: "a red apple" }] };
    expect(captionText(caption, "words")).toContain('{"type":"obj","desc":"a red apple, at the top"}');
  });
  it("keeps an artwork's manner apart from a photograph's camera", () => {
    const art = captionText({ ...emptyCaption(), style: "art", medium: "engraving", look: "fine lines" }, "boxes");
    expect(art).toContain('"style_description":{"medium":"engraving","art_style":"fine lines"}');
    expect(parseCaption(art)).toMatchObject({ style: "art", medium: "engraving", look: "fine lines" });
  });
  it.each(["a fox", "{", "{}", "[1]", '{"a":1}', '{"high_level_description":7}'])("takes %s for plain text", (text) => {
    expect(parseCaption(text)).toBeNull();
  });
  it("drops boxes and colours that are none", () => {
    const text = '{"compositional_deconstruction":{"elements":[{"type":"obj","desc":"x","bbox":[5,5,5,9],"color_palette":["red","#abcdef"]},3,null]}}';
    expect(parseCaption(text)?.elements).toEqual([{ key: 1, kind: "obj", text: "", desc: "x", box: null, palette: ["#ABCDEF"] }]);
  });
  it("says what is missing", () => {
    const text = newElement(1, "text", null);
    expect(captionProblem(emptyCaption())).toMatch(/Describe/);
    expect(captionProblem({ ...emptyCaption(), elements: [text] })).toMatch(/Element 1 has no words/);
    expect(captionProblem({ ...emptyCaption(), elements: [{ ...text, text: "A" }, newElement(2, "obj", null)] })).toMatch(/Element 2 is not described/);
    expect(captionProblem({ ...emptyCaption(), summary: "x" })).toBeNull();
  });
  it("names a prompt in a line", () => {
    expect(promptTitle("a\n  fox ")).toBe("a fox");
    expect(promptTitle(kSheet)).toBe('A red apple above "CAT" in red serif letters');
    expect(promptTitle('{"compositional_deconstruction":{"elements":[{"type":"text","text":"HI"},{"type":"obj","desc":"a cat"}]}}')).toBe("“HI”, a cat");
  });
});

describe("boxes", () => {
  const box: Box = [100, 200, 300, 500];
  it("are drawn from any corner, within the picture, never too small", () => {
    expect(boxBetween(500, 300, 200, 100)).toEqual(box);
    expect(boxBetween(-50, -50, 1200, 400)).toEqual([0, 0, 400, 1000]);
    expect(boxBetween(1000, 1000, 1000, 1000)).toEqual([1000 - kLeast, 1000 - kLeast, 1000, 1000]);
  });
  it("keep their size when moved, up to the border", () => {
    expect(pull(box, "move", 50, -40)).toEqual([60, 250, 260, 550]);
    expect(pull(box, "move", 9999, -9999)).toEqual([0, 700, 200, 1000]);
  });
  it("stop at the other side when resized", () => {
    expect(pull(box, "nw", -20, 30)).toEqual([130, 180, 300, 500]);
    expect(pull(box, "n", 0, 999)).toEqual([300 - kLeast, 200, 300, 500]);
    expect(pull(box, "e", -999, 0)).toEqual([100, 200, 300, 200 + kLeast]);
    expect(pull(box, "se", 9999, 9999)).toEqual([100, 200, 1000, 1000]);
  });
  it.each([
    [[0, 0, 200, 200], "in the top left corner"], [[0, 300, 200, 700], "at the top"], [[400, 0, 600, 200], "on the left"],
    [[350, 350, 650, 650], "in the center"], [[400, 800, 600, 1000], "on the right"], [[800, 800, 1000, 1000], "in the bottom right corner"],
  ] as [Box, string][])("%j is %s", (where, words) => expect(placeWords(where)).toBe(words));
  it("come free of those that are there", () => {
    const first = freeBox([]);
    const second = freeBox([first]);
    expect(isBox(first) && isBox(second)).toBe(true);
    expect(second).not.toEqual(first);
  });
});
