// Jobs to test with.
import type { Job } from "../src/api/types";

export const job = (id: string, part: Partial<Job> = {}): Job => ({
  id, status: "queued", created_at: "2026-11-29T14:00:00.000Z", started_at: null, finished_at: null, position: 1,
  request: { prompt: "a fox", negative_prompt: null, model: "mini", width: 256, height: 256, preset: null, steps: 24, guidance: "4", cache: null, progressive: null, init_image: null, mask: null, strength: null, seed: 7, count: 1, loras: [] },
  progress: null, pictures: [], warnings: [], error: null, ...part,
});
