// What is known of a picture, as names and values for people.
import { between, bytes, duration } from "../format/format";
import { sizeText } from "../sizes/sizes";
import { promptTitle } from "../captions/caption";
import { kStrength } from "../state/draft";
import type { Print } from "../state/jobs";

const smallWords = (value: string | null): string | null =>
  value === null ? null : Number(value) < 1 ? `${Math.round(100 * Number(value))} % of the steps` : `${value} steps`;

export function factsOf({ job, picture }: Print): [string, string][] {
  const asked = job.request;
  const took = between(job.started_at, job.finished_at);
  const facts: [string, string | null][] = [
    ["Negative prompt", asked.negative_prompt],
    ["Model", asked.model],
    ["Size", sizeText(picture)],
    ["Preset", asked.preset],
    ["Steps", asked.steps === null ? null : String(asked.steps)],
    ["Guidance", asked.guidance],
    ["Fewer passes", asked.cache === "off" ? null : asked.cache],
    ["Began small", asked.progressive === "off" ? null : smallWords(asked.progressive)],
    ["Began from", asked.init_image ? `a picture, strength ${asked.strength ?? kStrength}${asked.mask ? ", with a mask" : ""}` : null],
    ["Seed", String(picture.seed)],
    ["Adapters", asked.loras.map((lora) => `${lora.name} × ${lora.strength}`).join(", ") || null],
    ["Drawn", new Date(job.finished_at ?? job.created_at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })],
    ["Took", took === null ? null : duration(took) + (asked.count > 1 ? ` for ${asked.count}` : "")],
    ["File", bytes(picture.bytes)],
  ];
  return facts.filter((fact): fact is [string, string] => fact[1] !== null && fact[1] !== "");
}

const kSettings = ["Prompt", "Negative prompt", "Model", "Size", "Preset", "Steps", "Guidance", "Fewer passes", "Began small", "Began from", "Seed", "Adapters"];

// Settings that two pictures do not share: name, left, right.
export function differences(left: Print, right: Print): [string, string, string][] {
  const all = (print: Print) => new Map([["Prompt", promptTitle(print.job.request.prompt)] as [string, string], ...factsOf(print)]);
  const [a, b] = [all(left), all(right)];
  return kSettings.map((name): [string, string, string] => [name, a.get(name) ?? "none", b.get(name) ?? "none"]).filter(([, x, y]) => x !== y);
}

export function fileName({ job, picture }: Print): string {
  const title = promptTitle(job.request.prompt).toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 48);
  return `${title || "intaglio"}-${picture.seed}.png`;
}
