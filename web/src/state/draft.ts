// What stands in the composer: kept in the browser, so that a reload loses nothing but the picture to begin from.
import type { Info, JobRequest, Lora, Mask, Model, NewJob } from "../api/types";
import { captionProblem, captionText, emptyCaption, parseCaption, type Caption, type Places } from "../captions/caption";
import { plural, bytes } from "../format/format";
import { sizeProblem } from "../sizes/sizes";

export interface Draft {
  mode: "plain" | "caption";
  prompt: string;
  caption: Caption;
  places: Places | null; // null: as the model was trained
  negative: string;
  model: string | null; // null: the server's default
  schedule: "own" | "preset" | "steps"; // own: the model's
  preset: string;
  steps: number | null;
  guidance: string; // empty: the schedule's
  cache: string; // a mask of the model by its name, or a share; empty: off
  progressive: string; // steps, or a share of them, that run at half size; empty: off
  strength: number; // of a picture to begin from
  width: number | null; // null: the model's
  height: number | null;
  seedFixed: boolean;
  seed: number;
  count: number;
  loras: Lora[];
}

export const kStrength = 0.6; // the server's own choice

export const emptyDraft = (): Draft => ({
  mode: "plain", prompt: "", caption: emptyCaption(), places: null, negative: "", model: null, schedule: "own", preset: "",
  steps: null, guidance: "", cache: "", progressive: "", strength: kStrength, width: null, height: null, seedFixed: false, seed: 0, count: 1, loras: [],
});

// A draft of an earlier visit; what is missing or of another kind is as in an empty one.
export function checkDraft(value: unknown): Draft | null {
  if (typeof value !== "object" || value === null) return null;
  const draft = emptyDraft() as unknown as Record<string, unknown>;
  const kept = value as Record<string, unknown>;
  for (const [key, initial] of Object.entries(draft)) {
    const found = kept[key];
    const nullable = initial === null && (found === null || typeof found === "string" || typeof found === "number");
    const same = initial !== null && typeof found === typeof initial && Array.isArray(found) === Array.isArray(initial) && found !== null;
    if (nullable || same) draft[key] = found;
  }
  const caption = { ...emptyCaption(), ...(draft["caption"] as Partial<Caption>) };
  if (!Array.isArray(caption.elements) || !Array.isArray(caption.palette)) draft["caption"] = emptyCaption();
  else draft["caption"] = caption;
  return draft as unknown as Draft;
}

export const modelOf = (draft: Draft, info: Info): Model | null =>
  info.models.find((m) => m.name === draft.model) ?? info.models.find((m) => m.default) ?? info.models[0] ?? null;

// The bundled model has learned places by words alone.
export const placesOf = (draft: Draft, model: Model | null): Places =>
  draft.places ?? (model && /\bmini\b/.test(model.name) ? "words" : "boxes");

export const promptOf = (draft: Draft, model: Model | null): string =>
  draft.mode === "caption" ? captionText(draft.caption, placesOf(draft, model)) : draft.prompt.trim();

export function stepsOf(draft: Draft, model: Model): number | null {
  if (draft.schedule === "steps") return draft.steps;
  const preset = draft.schedule === "preset" ? model.presets.find((p) => p.name === draft.preset) : undefined;
  return preset?.steps ?? model.default_steps;
}

export const masksOf = (model: Model, steps: number | null): Mask[] => model.masks.filter((mask) => mask.steps === steps);

// What the job will say of it: a mask that is of other steps or of another model is none.
export function cacheOf(draft: Draft, model: Model): string {
  const share = Number(draft.cache);
  const fits = (share > 0 && share < 1) || masksOf(model, stepsOf(draft, model)).some((mask) => mask.name === draft.cache);
  return fits ? draft.cache : "";
}

// Sides at half size are whole numbers of tokens, too.
export const progressiveOf = (draft: Draft, model: Model): string => (model.progressive ? draft.progressive : "");

export type Field = "prompt" | "size" | "steps" | "seed" | "count" | "loras" | "preset" | "model" | "guidance" | "negative" | "init_image" | "progressive";
export type Problems = Partial<Record<Field, string>>;

const whole = (value: number | null, low: number, high: number) =>
  value !== null && Number.isInteger(value) && value >= low && value <= high;

export function problemsOf(draft: Draft, info: Info): Problems {
  const problems: Problems = {};
  const model = modelOf(draft, info);
  const limits = info.limits;
  if (!model) problems.model = "This server knows no model.";
  const prompt = promptOf(draft, model);
  const size = new TextEncoder().encode(prompt).length;
  const caption = draft.mode === "caption" ? captionProblem(draft.caption) : null;
  if (caption) problems.prompt = caption;
  else if (!prompt) problems.prompt = "Write what you want to see.";
  else if (size > limits.prompt_bytes) problems.prompt = `The prompt has ${bytes(size)}; this server takes at most ${bytes(limits.prompt_bytes)}.`;
  if (model) {
    const wrong = sizeProblem({ width: draft.width ?? model.default_width, height: draft.height ?? model.default_height }, model.multiple_of, limits.pixels);
    if (wrong) problems.size = wrong;
    const even = 2 * model.multiple_of;
    const odd = [draft.width ?? model.default_width, draft.height ?? model.default_height].some((side) => side % even !== 0);
    if (progressiveOf(draft, model) && odd) problems.progressive = `To begin small, width and height must be multiples of ${even}.`;
  }
  if (draft.schedule === "steps" && !whole(draft.steps, 1, limits.steps)) problems.steps = `Steps must be a whole number from 1 to ${limits.steps}.`;
  if (draft.guidance.trim() && !/^\d*\.?\d+(x\d+)?(,\s*\d*\.?\d+(x\d+)?)*$/.test(draft.guidance.trim())) {
    problems.guidance = "Guidance is a number, or numbers with how many steps each lasts: 7x45,3x3.";
  }
  if (draft.seedFixed && !whole(draft.seed, 0, Number.MAX_SAFE_INTEGER)) problems.seed = "A seed is a whole number from 0 on.";
  if (!whole(draft.count, 1, limits.count)) problems.count = `This server draws 1 to ${plural(limits.count, "picture")} at a time.`;
  const missing = draft.loras.find((lora) => !info.loras.includes(lora.name));
  if (missing) problems.loras = `The adapter ${missing.name} is not on this server any more. Remove it.`;
  return problems;
}

// Only what was chosen; the server chooses the rest.
export function newJobOf(draft: Draft, info: Info): NewJob {
  const model = modelOf(draft, info);
  const job: NewJob = { prompt: promptOf(draft, model), count: draft.count, previews: 4 };
  if (model) job.model = model.name;
  if (draft.width !== null && draft.height !== null) {
    job.width = draft.width;
    job.height = draft.height;
  }
  if (model?.negative_prompt && draft.negative.trim()) job.negative_prompt = draft.negative.trim();
  if (draft.schedule === "preset" && model?.presets.some((p) => p.name === draft.preset)) job.preset = draft.preset;
  if (draft.schedule === "steps" && draft.steps !== null) job.steps = draft.steps;
  if (model?.guidance && draft.guidance.trim()) job.guidance = draft.guidance.replace(/\s+/g, "");
  const cache = model ? cacheOf(draft, model) : "";
  if (cache) job.cache = cache;
  const progressive = model ? progressiveOf(draft, model) : "";
  if (progressive) job.progressive = progressive;
  if (draft.seedFixed) job.seed = draft.seed;
  if (draft.loras.length > 0) job.loras = draft.loras;
  return job;
}

// The draft that asks for the same again; `seed`: of one picture.
export function draftOf(request: JobRequest, seed: number | null): Draft {
  const caption = parseCaption(request.prompt);
  const preset = request.preset ?? "";
  return {
    ...emptyDraft(),
    mode: caption ? "caption" : "plain",
    prompt: request.prompt,
    caption: caption ?? emptyCaption(),
    negative: request.negative_prompt ?? "",
    model: request.model,
    schedule: preset ? "preset" : request.steps !== null ? "steps" : "own",
    preset,
    steps: request.steps,
    guidance: preset ? "" : (request.guidance ?? ""),
    cache: request.cache && request.cache !== "off" ? request.cache : "",
    progressive: request.progressive && request.progressive !== "off" ? request.progressive : "",
    strength: request.strength ?? kStrength,
    width: request.width,
    height: request.height,
    seedFixed: seed !== null,
    seed: seed ?? 0,
    count: seed !== null ? 1 : request.count,
    loras: request.loras.map((lora) => ({ ...lora })),
  };
}
