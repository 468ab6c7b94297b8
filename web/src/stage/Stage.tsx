import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { isEnded, type Job } from "../api/types";
import { promptTitle } from "../captions/caption";
import { between, duration } from "../format/format";
import { reuseSettings } from "../composer/draw";
import { jobs, onStage } from "../state/app";
import { activeJobs, allJobs, type Jobs } from "../state/jobs";
import { pictureFragment } from "../state/route";
import { useStore } from "../state/store";
import { Icon } from "../ui/Icon";
import { Image } from "../ui/Image";
import { Blank } from "./Blank";
import { CancelButton } from "./CancelButton";
import { Progress } from "./Progress";
import { PictureSheet, Sheet } from "./Sheet";

// The chosen job, else what runs, else what was finished last.
export function jobOnStage(now: Jobs, chosen: string | null): Job | null {
  const job = chosen === null ? undefined : now.byId.get(chosen);
  const active = activeJobs(now);
  if (job && (!isEnded(job) || job.pictures.length > 0 || active.length === 0)) return job;
  return active[0] ?? allJobs(now).find((j) => j.pictures.length > 0) ?? null;
}

export function Stage() {
  const now = useStore(jobs, (j) => j);
  const chosen = useStore(onStage, (s) => s);
  const job = jobOnStage(now, chosen);
  if (!job) return <Blank />;
  return <JobStage key={job.id} job={job} />;
}

function JobStage({ job }: { job: Job }) {
  const preview = useStore(jobs, (j) => j.previews.get(job.id) ?? null);
  const [picked, setPicked] = useState<number | null>(null);
  const { width, height, count } = job.request;
  const title = promptTitle(job.request.prompt);
  const ended = isEnded(job);
  const picture = (picked === null ? null : job.pictures.find((p) => p.index === picked)) ?? (ended ? job.pictures[0] : null);
  const took = between(job.started_at, job.finished_at);
  return (
    <section class="stage" aria-label="On the press" style={{ "--ratio": (picture?.width ?? width) / (picture?.height ?? height) } as JSX.CSSProperties}>
      {picture ? (
        <PictureSheet job={job} picture={picture} href={pictureFragment("studio", job.id, picture.index)} />
      ) : (
        <Sheet width={width} height={height} left={`${(job.progress?.picture ?? 0) + 1}/${count}`} middle={title} right={job.request.seed === null ? "" : `№ ${job.request.seed + (job.progress?.picture ?? 0)}`}>
          {preview && !ended ? (
            <img class="preview" src={preview.image} alt={`Preview at step ${preview.step}: ${title}`} width={width} height={height} />
          ) : (
            <div class="uncut" data-status={job.status}>
              {job.status === "failed" && <p>{job.error?.message ?? "This could not be drawn."}</p>}
              {job.status === "cancelled" && <p>Cancelled before a picture was finished.</p>}
            </div>
          )}
        </Sheet>
      )}
      {count > 1 && job.pictures.length > 0 && (
        <div class="strip" role="group" aria-label="Pictures of this job">
          {job.pictures.map((p) => (
            <button key={p.index} type="button" class="strip-item" aria-pressed={picture?.index === p.index} aria-label={`Picture ${p.index + 1}`} onClick={() => setPicked(p.index)}>
              <Image url={p.url} alt="" width={p.width} height={p.height} eager />
            </button>
          ))}
          {!ended && picked !== null && (
            <button type="button" class="quiet" onClick={() => setPicked(null)}>
              Back to the press
            </button>
          )}
        </div>
      )}
      {job.warnings.map((text) => (
        <p key={text} class="warning">
          {text}
        </p>
      ))}
      <div class="stage-foot">
        {!ended ? (
          <>
            <Progress job={job} />
            <CancelButton job={job} words />
          </>
        ) : (
          <>
            <p class="stage-facts">
              {job.request.model.replace(/^.*\//, "")} · {width} × {height}
              {job.request.steps !== null && ` · ${job.request.steps} steps`}
              {took !== null && ` · ${duration(took)}`}
            </p>
            <button type="button" class="quiet" onClick={() => reuseSettings(job, picture?.seed ?? job.request.seed)}>
              <Icon name="reuse" /> Reuse settings
            </button>
          </>
        )}
      </div>
    </section>
  );
}
