import type { Job } from "../api/types";
import { promptTitle } from "../captions/caption";
import { cancel, cancelling } from "../state/app";
import { useStore } from "../state/store";
import { Icon } from "../ui/Icon";

// `words`: a button with words; otherwise a small one whose name has the job's.
export function CancelButton({ job, words = false }: { job: Job; words?: boolean }) {
  const asked = useStore(cancelling, (ids) => ids.has(job.id));
  if (words) {
    return (
      <button type="button" class="quiet" disabled={asked} onClick={() => void cancel(job)}>
        <Icon name="close" /> {asked ? "Cancelling…" : "Cancel"}
      </button>
    );
  }
  return (
    <button type="button" class="tool" aria-label={`Cancel: ${promptTitle(job.request.prompt)}`} title="Cancel" disabled={asked} onClick={() => void cancel(job)}>
      <Icon name="close" />
    </button>
  );
}
