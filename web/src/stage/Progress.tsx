import type { JSX } from "preact";
import type { Job } from "../api/types";
import { duration, phaseWords } from "../format/format";
import { jobs } from "../state/app";
import { placeInQueue } from "../state/jobs";
import { useStore } from "../state/store";

// place: in the queue, from 1 on.
export function progressWords(job: Job, place: number): string {
  if (job.status === "queued") return place > 1 ? `Number ${place} in the queue` : "Next in the queue";
  const now = job.progress;
  if (!now) return "Starting";
  const parts = [phaseWords(now.phase)];
  if (now.phase === "denoise") parts.push(`step ${now.step} of ${now.steps}`);
  if (job.request.count > 1) parts.push(`picture ${now.picture + 1} of ${job.request.count}`);
  return parts.join(", ");
}

// A rule of fine lines that are cut from left to right.
export function Progress({ job, small = false }: { job: Job; small?: boolean }) {
  const fraction = Math.min(1, Math.max(0, job.progress?.fraction ?? 0));
  const words = progressWords(job, useStore(jobs, (now) => placeInQueue(now, job)));
  const left = job.progress?.seconds_left ?? null;
  return (
    <div class={`progress ${small ? "is-small" : ""}`}>
      <div
        class="rule"
        role="progressbar"
        aria-label="Progress"
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(fraction * 100)}
        aria-valuetext={words}
        style={{ "--done": fraction } as JSX.CSSProperties}
      />
      <p class="progress-words">
        <span>{words}</span>
        {left !== null && job.status === "running" && <span class="figure">{duration(left)} left</span>}
      </p>
    </div>
  );
}
