// Jobs of the mock: one after the other, steps by a timer.
import { draw } from "./pictures.mjs";

const warningsOf = (prompt) =>
  /\bzyx\w*/.test(prompt) ? [`mini was never trained on "${/\bzyx\w*/.exec(prompt)[0]}"; \`intaglio inspect mini\` lists what it draws, and letters to show stand in double quotes`] : [];

export class Queue {
  jobs = new Map();
  files = new Map(); // "id/index" -> PNG
  listeners = new Set();
  pictures = 0;
  next = 1;
  running = null;

  constructor(stepMs) {
    this.stepMs = stepMs;
  }

  emit(event, data) {
    for (const listener of this.listeners) listener(event, data);
  }

  add(request, at = new Date()) {
    const id = "j" + String(this.next++).padStart(8, "0");
    const job = {
      id, status: "queued", created_at: at.toISOString(), started_at: null, finished_at: null, position: 0, priority: 0,
      request, progress: null, pictures: [], warnings: warningsOf(request.prompt), error: null,
    };
    this.jobs.set(id, job);
    this.number();
    return job;
  }

  number() {
    let position = 0;
    for (const job of this.jobs.values()) job.position = job.status === "queued" ? (position += 1) : 0;
  }

  submit(request) {
    const job = this.add(request);
    this.emit("state", job);
    setTimeout(() => void this.work(), 5);
    return job;
  }

  async work() {
    if (this.running) return;
    const job = [...this.jobs.values()].find((j) => j.status === "queued");
    if (!job) return;
    this.running = job;
    this.change(job, "running", { started_at: new Date().toISOString() });
    await this.run(job);
    this.running = null;
    void this.work();
  }

  async run(job) {
    const { count, steps, seed, width, height, prompt } = job.request;
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    for (let picture = 0; picture < count; picture += 1) {
      for (const phase of ["text", "denoise", "decode"]) {
        for (let step = phase === "denoise" ? 1 : 0; step <= (phase === "denoise" ? steps : 0); step += 1) {
          await pause(this.stepMs);
          if (job.status !== "running") return;
          const done = (picture + (phase === "text" ? 0 : phase === "decode" ? 0.97 : 0.02 + (0.95 * step) / steps)) / count;
          job.progress = { phase, picture, step, steps, fraction: done, seconds_left: ((1 - done) * count * steps * this.stepMs) / 1000 };
          this.emit("progress", { id: job.id, ...job.progress });
          if (phase === "denoise" && step < steps && step % Math.ceil(steps / 5) === 0) {
            const small = 128 / Math.max(width, height);
            const image = draw(prompt, seed + picture, Math.round(width * small), Math.round(height * small), 0.8 * (1 - step / steps));
            this.emit("preview", { id: job.id, picture, step, image: `data:image/png;base64,${image.toString("base64")}` });
          }
        }
      }
      if (/\bfail\b/.test(prompt)) {
        this.change(job, "failed", { error: { code: "numeric", message: "The picture holds values that are no numbers after step 3." } });
        return;
      }
      this.finish(job, picture);
    }
    this.change(job, "done", {});
  }

  finish(job, index) {
    const { seed, width, height, prompt } = job.request;
    const png = draw(prompt, seed + index, width, height);
    this.files.set(`${job.id}/${index}`, png);
    const picture = { index, seed: seed + index, width, height, bytes: png.length, url: `/api/jobs/${job.id}/pictures/${index}.png` };
    job.pictures.push(picture);
    this.pictures += 1;
    this.emit("picture", { id: job.id, picture });
  }

  change(job, status, fields) {
    job.status = status;
    Object.assign(job, fields);
    if (!["queued", "running"].includes(status)) {
      job.finished_at ??= new Date().toISOString();
      job.progress = null;
    }
    this.number();
    this.emit("state", job);
    for (const other of this.jobs.values()) if (other.status === "queued") this.emit("state", other);
  }

  remove(job) {
    this.jobs.delete(job.id);
    for (const picture of job.pictures) this.files.delete(`${job.id}/${picture.index}`);
    this.emit("removed", { id: job.id });
  }
}
