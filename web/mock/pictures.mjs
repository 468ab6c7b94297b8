// Pictures for the mock: the bundled model's sheet cut into its 24, on their own ground in any size.
import { readFileSync } from "node:fs";
import { decode, encode } from "./png.mjs";

const sheet = decode(readFileSync(new URL("../../models/mini/sheet.png", import.meta.url)));
const kColumns = 6;
const kRows = 4;
const kTile = sheet.width / kColumns;
const words = [
  "fox", "face", "dog fox", "apple", "fish", "elephant", "sunflower", "rocket", "apple fish", "cat guitar", "owl pumpkin",
  "car bus", "strawberry banana", "sun cloud rainbow", "intaglio", "hello", "open", "quartz", "print", "sale pizza", "woof dog",
  "ice penguin", "cat apple", "tiger crown",
];

function tileFor(prompt, seed) {
  const asked = prompt.toLowerCase();
  const scores = words.map((list) => list.split(" ").filter((word) => asked.includes(word)).length);
  const best = Math.max(...scores);
  const fit = scores.flatMap((score, i) => (score === best && (best > 0 || i < kColumns * kRows) ? [i] : []));
  return fit[seed % fit.length];
}

// noise 0: the picture; 1: nothing but grain.
export function draw(prompt, seed, width, height, noise = 0) {
  const tile = tileFor(prompt, seed);
  const left = (tile % kColumns) * kTile + 3;
  const top = Math.floor(tile / kColumns) * kTile + 3;
  const inner = kTile - 8;
  const pixel = (x, y) => {
    const at = ((top + y) * sheet.width + left + x) * 3;
    return [sheet.data[at], sheet.data[at + 1], sheet.data[at + 2]];
  };
  const ground = pixel(4, 4);
  const side = Math.min(width, height);
  const data = Buffer.alloc(width * height * 3);
  let random = (seed * 2654435761 + 12345) >>> 0;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const tx = Math.floor(((x - (width - side) / 2) * inner) / side);
      const ty = Math.floor(((y - (height - side) / 2) * inner) / side);
      const colour = tx >= 0 && ty >= 0 && tx < inner && ty < inner ? pixel(tx, ty) : ground;
      for (let c = 0; c < 3; c += 1) {
        let value = colour[c];
        if (noise > 0) {
          random = (random * 1664525 + 1013904223) >>> 0;
          value = value * (1 - noise) + (random >>> 24) * noise;
        }
        data[(y * width + x) * 3 + c] = value;
      }
    }
  }
  return encode({ width, height, data });
}
