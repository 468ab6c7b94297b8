// What the server says and takes: the JSON of its /api routes.

export type JobStatus = "queued" | "running" | "done" | "failed" | "cancelled";

export interface Lora {
  name: string;
  strength: number;
}

// What a job begins from, or its mask, as the server keeps it: of the job's size.
export interface KeptPicture {
  id: string;
  width: number;
  height: number;
}

// Of a job: every choice is made, but fields that a model does not know are null.
export interface JobRequest {
  prompt: string;
  negative_prompt: string | null;
  model: string;
  width: number;
  height: number;
  preset: string | null;
  steps: number | null;
  guidance: string | null;
  cache: string | null; // null and "off": every pass of a step is computed
  progressive: string | null; // null and "off": every step runs at full size
  seed: number | null;
  init_image: KeptPicture | null;
  mask: KeptPicture | null;
  strength: number | null; // the share of the steps that run from init_image on
  count: number;
  loras: Lora[];
}

// What is sent: only what was chosen.
export type NewJob = { prompt: string } & Partial<Omit<JobRequest, "prompt">> & { previews?: number };

export interface Progress {
  phase: string;
  picture: number;
  step: number;
  steps: number;
  fraction: number; // of the whole job, 0 to 1
  seconds_left: number | null;
}

export interface Picture {
  index: number;
  seed: number;
  width: number;
  height: number;
  bytes: number;
  url: string;
}

export interface Job {
  id: string; // later jobs have greater ids
  status: JobStatus;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  position: number; // in the queue, from 1 on
  request: JobRequest;
  progress: Progress | null;
  pictures: Picture[];
  warnings: string[];
  error: { code: string; message: string } | null;
}

// Which passes of a picture of so many steps are computed; share: of all.
export interface Mask {
  name: string;
  steps: number;
  share: number;
}

export interface Model {
  name: string;
  default: boolean;
  default_width: number;
  default_height: number;
  multiple_of: number;
  default_steps: number;
  presets: { name: string; steps: number }[];
  masks: Mask[];
  negative_prompt: boolean;
  guidance: boolean;
  progressive: boolean;
  init_image: boolean; // whether its pictures can begin from another
  loaded: boolean;
}

export interface Info {
  version: string;
  device: string;
  precision: string;
  limits: { count: number; prompt_bytes: number; pixels: number; steps: number; upload_bytes: number };
  models: Model[];
  loras: string[];
}

export interface JobPage {
  jobs: Job[];
  next: string | null;
}

export const isEnded = (job: Job): boolean => job.status !== "queued" && job.status !== "running";
