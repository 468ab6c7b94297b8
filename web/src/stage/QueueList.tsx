import type { Job } from "../api/types";
import { promptTitle } from "../captions/caption";
import { plural } from "../format/format";
import { jobs, onStage } from "../state/app";
import { activeJobs } from "../state/jobs";
import { useStore } from "../state/store";
import { CancelButton } from "./CancelButton";
import { Progress } from "./Progress";
import { jobOnStage } from "./Stage";

// What runs and waits besides what is on the stage.
export function QueueList() {
  const now = useStore(jobs, (j) => j);
  const chosen = useStore(onStage, (s) => s);
  const staged = jobOnStage(now, chosen);
  const waiting = activeJobs(now).filter((job) => job !== staged);
  if (waiting.length === 0) return null;
  return (
    <section class="queue" aria-labelledby="queue-title">
      <h2 id="queue-title" class="heading">
        Queue <small>{plural(waiting.length, "job")}</small>
      </h2>
      <ul>
        {waiting.map((job) => (
          <QueueItem key={job.id} job={job} />
        ))}
      </ul>
    </section>
  );
}

function QueueItem({ job }: { job: Job }) {
  const title = promptTitle(job.request.prompt);
  return (
    <li class="queue-item">
      <button type="button" class="queue-title" title="Show on the stage" onClick={() => onStage.set(job.id)}>
        {title}
      </button>
      <Progress job={job} small />
      <CancelButton job={job} />
    </li>
  );
}
