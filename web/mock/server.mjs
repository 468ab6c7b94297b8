// The server's routes without its engine, to work on the page: node mock/server.mjs [PORT], 0: a free one
// STEP_MS: time of a step; TOKEN: asks for it; EMPTY=1: no history.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { Queue } from "./queue.mjs";

const kPort = Number(process.argv[2] ?? 8188);
const kToken = process.env.TOKEN ?? "";
const kDist = fileURLToPath(new URL("../dist", import.meta.url));
const kTypes = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8" };
const kPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const models = [
  { name: "mini", default: true, default_width: 256, default_height: 256, multiple_of: 16, default_steps: 24, presets: [], masks: [{ name: "share-0.5", steps: 24, share: 0.5 }, { name: "share-0.34", steps: 24, share: 0.3333 }], negative_prompt: false, guidance: true, progressive: true, init_image: true, loaded: true },
  { name: "ideogram-ai/ideogram-v4", default: false, default_width: 1024, default_height: 1024, multiple_of: 16, default_steps: 48, presets: [{ name: "QUALITY_48", steps: 48 }, { name: "DEFAULT_20", steps: 20 }, { name: "TURBO_12", steps: 12 }], masks: [], negative_prompt: false, guidance: true, progressive: true, init_image: false, loaded: false },
  { name: "Tongyi-MAI/Z-Image", default: false, default_width: 1024, default_height: 1024, multiple_of: 16, default_steps: 50, presets: [], masks: [], negative_prompt: true, guidance: true, progressive: true, init_image: false, loaded: false },
];
const info = { version: "0.0.0", device: "AMD EPYC, 2 threads", precision: "int8", limits: { count: 16, prompt_bytes: 65536, pixels: 2048 * 2048, steps: 200, upload_bytes: 32 * 2 ** 20 }, models, loras: ["engraving", "letterpress", "watercolour"] };
const kFields = ["prompt", "negative_prompt", "model", "width", "height", "size", "preset", "steps", "guidance", "cache", "progressive", "seed", "init_image", "mask", "strength", "count", "loras", "previews", "priority", "deadline_seconds"];
const queue = new Queue(Number(process.env.STEP_MS ?? 120));
const sse = new Set();
queue.listeners.add((event, data) => {
  for (const response of sse) response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
});

class Refusal extends Error {
  constructor(status, code, message, param = null) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}

// Pictures that jobs begin from, by their ids.
const inputs = new Map();
function keep(file, width, height) {
  if (!file) return null;
  if (!Buffer.isBuffer(file) && inputs.has(file.id)) return file;
  if (!Buffer.isBuffer(file)) throw new Refusal(400, "invalid_argument", "init_image: there is no such picture here any more", "init_image");
  const id = createHash("sha256").update(file).digest("hex");
  inputs.set(id, file);
  return { id, width, height };
}

function requestOf(body) {
  for (const field of Object.keys(body)) if (!kFields.includes(field)) throw new Refusal(400, "invalid_argument", `There is no field ${field}.`, field);
  const model = models.find((m) => m.name === (body.model ?? "mini"));
  if (!model) throw new Refusal(404, "not_found", `There is no model ${body.model} on this server.`, "model");
  if (typeof body.prompt !== "string" || !body.prompt.trim()) throw new Refusal(400, "invalid_argument", "The prompt is empty.", "prompt");
  if (body.preset && body.steps) throw new Refusal(400, "invalid_argument", "A preset says how many steps there are; leave steps out.", "steps");
  const preset = model.presets.find((p) => p.name === body.preset);
  if (body.cache && body.cache !== "off" && !(Number(body.cache) > 0) && !model.masks.some((mask) => mask.name === body.cache)) throw new Refusal(400, "invalid_argument", `There is no mask ${body.cache}.`, "cache");
  const width = body.width ?? model.default_width;
  const height = body.height ?? model.default_height;
  if (width % model.multiple_of || height % model.multiple_of) throw new Refusal(400, "invalid_argument", `Width and height must be multiples of ${model.multiple_of}.`, "size");
  if (body.init_image && !model.init_image) throw new Refusal(400, "invalid_argument", `init_image: the files of ${model.name} have no encoder`, "init_image");
  return {
    prompt: body.prompt, negative_prompt: body.negative_prompt ?? null, model: model.name, width, height, preset: body.preset ?? null,
    steps: body.steps ?? preset?.steps ?? model.default_steps, guidance: body.guidance ?? "4", cache: body.cache ?? null, progressive: body.progressive ?? null,
    init_image: keep(body.init_image, width, height), mask: keep(body.mask, width, height), strength: body.init_image ? (body.strength ?? 0.6) : null,
    seed: body.seed ?? Math.floor(Math.random() * 2 ** 32), count: body.count ?? 1, loras: body.loras ?? [], deadline_seconds: null, previews: body.previews ?? 0,
  };
}

function list(url) {
  const status = url.searchParams.get("status");
  const words = (url.searchParams.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const before = url.searchParams.get("before");
  const limit = Number(url.searchParams.get("limit") ?? 50);
  const fit = [...queue.jobs.values()].reverse().filter((job) =>
    (!status || job.status === status) && (!before || job.id < before) && words.every((w) => job.request.prompt.toLowerCase().includes(w)));
  return { jobs: fit.slice(0, limit), next: fit.length > limit ? fit[limit - 1].id : null };
}

function metrics() {
  const queued = [...queue.jobs.values()].filter((j) => j.status === "queued").length;
  const busy = queue.running ? 1 : 0;
  const memory = 418e6 + 260e6 * busy + 12e6 * Math.sin(Date.now() / 3000);
  return `# TYPE intaglio_memory_bytes gauge\nintaglio_memory_bytes{kind="resident"} ${Math.round(memory)}\nintaglio_memory_bytes{kind="device"} 0\n` +
    `intaglio_jobs{state="queued"} ${queued}\nintaglio_jobs{state="running"} ${busy}\nintaglio_pictures_total{model="mini",precision="int8",outcome="done"} ${queue.pictures}\nintaglio_seconds_per_picture 2.41\n`;
}

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  const type = request.headers["content-type"] ?? "";
  if (!type.startsWith("multipart/form-data")) return JSON.parse(body.toString());
  const form = await new Response(body, { headers: { "Content-Type": type } }).formData();
  const fields = {};
  for (const [name, value] of form) {
    if (typeof value !== "string") fields[name] = Buffer.from(await value.arrayBuffer());
    else fields[name] = ["prompt", "model"].includes(name) ? value : parsed(value);
  }
  return fields;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function file(path, response) {
  const name = normalize(path === "/" ? "/index.html" : path);
  const body = await readFile(join(kDist, name)).catch(() => null);
  if (!body) throw new Refusal(404, "not_found", "There is no such page.");
  response.writeHead(200, { "Content-Type": kTypes[extname(name)] ?? "application/octet-stream", "Content-Security-Policy": kPolicy, "X-Content-Type-Options": "nosniff" });
  response.end(body);
}

async function answer(request, response) {
  const url = new URL(request.url, "http://mock");
  const json = (status, body) => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  const path = url.pathname;
  if (!path.startsWith("/api/") && path !== "/metrics") return file(path, response);
  if (kToken && request.headers.authorization !== `Bearer ${kToken}`) throw new Refusal(401, "unauthorized", "This server asks for a token.");
  if (path === "/metrics") return response.writeHead(200, { "Content-Type": "text/plain" }).end(metrics());
  if (path === "/api/info") return json(200, info);
  if (path === "/api/events") {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" }).write(": hello\n\n");
    sse.add(response);
    return request.on("close", () => sse.delete(response));
  }
  if (path === "/api/jobs" && request.method === "GET") return json(200, list(url));
  if (path === "/api/jobs" && request.method === "POST") return json(201, queue.submit(requestOf(await read(request))));
  const [, , , id, what, name] = path.split("/");
  const job = queue.jobs.get(id);
  if (!job) throw new Refusal(404, "not_found", "There is no such job.");
  const ended = !["queued", "running"].includes(job.status);
  if (what === "pictures") {
    const png = queue.files.get(`${id}/${parseInt(name, 10)}`);
    if (!png) throw new Refusal(404, "not_found", "There is no such picture.");
    return response.writeHead(200, { "Content-Type": "image/png", "Cache-Control": "private, max-age=31536000, immutable" }).end(png);
  }
  if (what === "init_image.png" || what === "mask.png") {
    const kept = job.request[what.replace(".png", "")];
    if (!kept) throw new Refusal(404, "not_found", "There is no such picture.");
    return response.writeHead(200, { "Content-Type": "image/png" }).end(inputs.get(kept.id));
  }
  if (what === "cancel" && request.method === "POST") {
    if (ended) throw new Refusal(409, "failed_precondition", "That job has already ended.");
    queue.change(job, "cancelled", {});
    return json(200, job);
  }
  if (request.method === "DELETE") {
    if (!ended) throw new Refusal(409, "failed_precondition", "That job has not ended yet; cancel it first.");
    queue.remove(job);
    return response.writeHead(204).end();
  }
  return json(200, job);
}

// A history to look at.
if (!process.env.EMPTY) {
  const prompts = [
    ["a fox in noto style"], ["a red apple on a sky blue background"], ["a blue fish on cream"], ["a purple elephant against a yellow background", 2],
    ["a sunflower", 1, 256, 320], ["a rocket on a navy background", 1, 320, 256], ["a cat above a guitar in fluent style on mint"], ["an owl and a pumpkin on teal"],
    ["the word “INTAGLIO” in black serif letters on ivory"], ["“HELLO” in red letters on yellow"], ["“OPEN” in white condensed letters on teal", 1, 256, 384],
    ["“PRINT” in blue typewriter letters on pink"], ["a pizza with “SALE” at the top"], ["a penguin with “ICE” in white letters at the bottom on a blue background", 4],
    ['{"high_level_description":"A red apple above \\"CAT\\" in red serif letters","compositional_deconstruction":{"background":"yellow","elements":[{"type":"obj","bbox":[60,200,640,800],"desc":"a red apple"},{"type":"text","bbox":[680,220,920,780],"text":"CAT","desc":"red serif letters"}]}}'],
    ["a tiger on the left and a crown on the right on sky blue"],
  ];
  prompts.forEach(([prompt, count = 1, width = 256, height = 256], i) => {
    const at = new Date(Date.now() - (prompts.length - i) * 3_700_000);
    const job = queue.add(requestOf({ prompt, count, width, height, seed: 7 + i }), at);
    job.started_at = at.toISOString();
    job.finished_at = new Date(at.getTime() + 2400 * count).toISOString();
    job.status = "done";
    for (let n = 0; n < count; n += 1) queue.finish(job, n);
  });
  const lost = queue.add(requestOf({ prompt: "a photograph of a crowd", width: 2048, height: 2048, seed: 3 }), new Date(Date.now() - 1_500_000));
  Object.assign(lost, { status: "failed", finished_at: new Date().toISOString(), error: { code: "resource_exhausted", message: "2048 x 2048 takes 9.3 GB, of which 6.1 GB are free." } });
  queue.number();
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    const status = error.status ?? 500;
    if (response.headersSent) return response.end();
    const headers = { "Content-Type": "application/json", ...(status === 401 ? { "WWW-Authenticate": "Bearer" } : {}) };
    response.writeHead(status, headers).end(JSON.stringify({ error: { code: error.code ?? "internal", message: error.message, param: error.param ?? null } }));
  });
});
server.listen(kPort, "127.0.0.1", () => console.log(`mock: http://127.0.0.1:${server.address().port}/`));
