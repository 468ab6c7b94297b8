// Requests to the server this page came from.
import { errorOf, unreachable } from "./errors";
import type { Info, Job, JobPage, NewJob } from "./types";

let token: string | null = null;
let onUnauthorized: () => void = () => {};

export const setToken = (value: string | null): void => void (token = value);
export const hasToken = (): boolean => token !== null;
export const whenUnauthorized = (callback: () => void): void => void (onUnauthorized = callback);

// Throws ApiError for whatever is not 2xx.
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (response.ok) return response;
  if (response.status === 401) onUnauthorized();
  const body = await response.json().catch(() => null);
  throw errorOf(response.status, body, response.headers.get("Retry-After"));
}

const json = async <T>(path: string, init?: RequestInit): Promise<T> => (await request(path, init)).json() as Promise<T>;
const one = (id: string) => `/api/jobs/${encodeURIComponent(id)}`;

export interface Query {
  status?: string;
  q?: string;
  before?: string;
  limit?: number;
}

export function queryString(query: Query): string {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") fields.set(name, String(value));
  }
  const text = fields.toString();
  return text ? `?${text}` : "";
}

export const getInfo = (): Promise<Info> => json("/api/info");
export const getJob = (id: string): Promise<Job> => json(one(id));
export const listJobs = (query: Query, signal?: AbortSignal): Promise<JobPage> =>
  json(`/api/jobs${queryString(query)}`, signal ? { signal } : {});

// What is sent beside the fields of a job.
export interface Files {
  init_image?: Blob;
  mask?: Blob;
}

function formOf(job: NewJob, files: Files): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(job)) form.append(name, typeof value === "string" ? value : JSON.stringify(value));
  for (const [name, file] of Object.entries(files)) form.append(name, file, name);
  return form;
}

export function createJob(job: NewJob, files: Files = {}): Promise<Job> {
  if (Object.keys(files).length > 0) return json("/api/jobs", { method: "POST", body: formOf(job, files) });
  return json("/api/jobs", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(job) });
}
export const cancelJob = (id: string): Promise<Job> => json(`${one(id)}/cancel`, { method: "POST" });
export const removeJob = async (id: string): Promise<void> => void (await request(one(id), { method: "DELETE" }));
export const getMetrics = async (): Promise<string> => (await request("/metrics")).text();
