// JSON captions, as Ideogram 4 was trained on: one description, a style, a background, and elements with places.
import { isBox, placeWords, type Box } from "./boxes";

export type ElementKind = "obj" | "text";
export type StyleKind = "none" | "photo" | "art";
export type Places = "boxes" | "words"; // how the model is told them

export interface Element {
  key: number; // of the editor, not of the caption
  kind: ElementKind;
  text: string; // that is to be read; of kind "text"
  desc: string;
  box: Box | null;
  palette: string[]; // "#RRGGBB"
}

export interface Caption {
  summary: string;
  style: StyleKind;
  aesthetics: string;
  lighting: string;
  medium: string;
  look: string; // camera and lens of a photo, art style of the other
  palette: string[];
  background: string;
  elements: Element[];
}

export const kPaletteOfCaption = 16;
export const kPaletteOfElement = 5;

export const emptyCaption = (): Caption => ({
  summary: "", style: "none", aesthetics: "", lighting: "", medium: "", look: "", palette: [], background: "", elements: [],
});

export const newElement = (key: number, kind: ElementKind, box: Box | null): Element =>
  ({ key, kind, text: "", desc: "", box, palette: [] });

function styleJson(caption: Caption): Record<string, unknown> | null {
  const { aesthetics, lighting, medium, look, palette } = caption;
  const style: Record<string, unknown> = {};
  if (aesthetics) style["aesthetics"] = aesthetics;
  if (lighting) style["lighting"] = lighting;
  if (caption.style === "photo" && look) style["photo"] = look;
  if (caption.style === "photo") style["medium"] = medium || "photograph";
  else if (medium) style["medium"] = medium;
  if (caption.style === "art" && look) style["art_style"] = look;
  if (palette.length > 0) style["color_palette"] = palette;
  return caption.style === "none" || Object.keys(style).length === 0 ? null : style;
}

function elementJson(element: Element, places: Places): Record<string, unknown> {
  const json: Record<string, unknown> = { type: element.kind };
  const where = element.box && places === "words" ? placeWords(element.box) : "";
  if (element.box && places === "boxes") json["bbox"] = [...element.box];
  if (element.kind === "text") json["text"] = element.text;
  const desc = [element.desc.trim(), where].filter(Boolean).join(", ");
  if (desc) json["desc"] = desc;
  if (element.palette.length > 0) json["color_palette"] = element.palette;
  return json;
}

// Compact JSON: keys in the order of training, nothing empty.
export function captionText(caption: Caption, places: Places): string {
  const whole: Record<string, unknown> = {};
  if (caption.summary.trim()) whole["high_level_description"] = caption.summary.trim();
  const style = styleJson(caption);
  if (style) whole["style_description"] = style;
  const parts: Record<string, unknown> = {};
  if (caption.background.trim()) parts["background"] = caption.background.trim();
  parts["elements"] = caption.elements.map((element) => elementJson(element, places));
  whole["compositional_deconstruction"] = parts;
  return JSON.stringify(whole);
}

// What is still missing before it can be drawn; null: nothing.
export function captionProblem(caption: Caption): string | null {
  for (const [i, element] of caption.elements.entries()) {
    const which = `Element ${i + 1}`;
    if (element.kind === "text" && !element.text.trim()) return `${which} has no words yet: write what is to be read there, or remove it.`;
    if (element.kind === "obj" && !element.desc.trim()) return `${which} is not described yet: write what it is, or remove it.`;
  }
  if (!caption.summary.trim() && !caption.background.trim() && caption.elements.length === 0) return "Describe the picture first.";
  return null;
}

const record = (value: unknown): Record<string, unknown> | null =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
const text = (value: unknown): string => (typeof value === "string" ? value : "");

function colours(value: unknown, limit: number): string[] {
  if (!Array.isArray(value)) return [];
  return value.filter((c): c is string => typeof c === "string" && /^#[0-9a-f]{6}$/i.test(c)).map((c) => c.toUpperCase()).slice(0, limit);
}

// The caption that a prompt is, or null where it is plain text. What the editor does not know is dropped.
export function parseCaption(prompt: string): Caption | null {
  if (!prompt.trimStart().startsWith("{")) return null;
  let whole: Record<string, unknown> | null;
  try {
    whole = record(JSON.parse(prompt));
  } catch {
    return null;
  }
  const parts = record(whole?.["compositional_deconstruction"]);
  if (!whole || (!parts && typeof whole["high_level_description"] !== "string")) return null;
  const style = record(whole["style_description"]);
  const elements = Array.isArray(parts?.["elements"]) ? (parts["elements"] as unknown[]) : [];
  return {
    summary: text(whole["high_level_description"]),
    style: style ? ("photo" in style ? "photo" : "art") : "none",
    aesthetics: text(style?.["aesthetics"]),
    lighting: text(style?.["lighting"]),
    medium: text(style?.["medium"]),
    look: text(style?.["photo"]) || text(style?.["art_style"]),
    palette: colours(style?.["color_palette"], kPaletteOfCaption),
    background: text(parts?.["background"]),
    elements: elements.map(record).filter((e) => e !== null).map((e, i) => ({
      key: i + 1,
      kind: e["type"] === "text" ? "text" : "obj",
      text: text(e["text"]),
      desc: text(e["desc"]),
      box: isBox(e["bbox"]) ? e["bbox"] : null,
      palette: colours(e["color_palette"], kPaletteOfElement),
    })),
  };
}

// One line for lists and alternative texts.
export function promptTitle(prompt: string): string {
  const caption = parseCaption(prompt);
  if (!caption) return prompt.replace(/\s+/g, " ").trim();
  if (caption.summary) return caption.summary;
  return caption.elements.map((e) => (e.kind === "text" ? `“${e.text}”` : e.desc)).filter(Boolean).join(", ") || caption.background || "A caption";
}
