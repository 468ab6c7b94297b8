import { jobs } from "../state/app";
import { allJobs, prints } from "../state/jobs";
import { useStore } from "../state/store";
import { PrintGrid } from "./PrintGrid";

const kShown = 24;

export function Recent() {
  const byId = useStore(jobs, (j) => j.byId);
  const list = prints(allJobs({ byId })).slice(0, kShown);
  if (list.length === 0) return null;
  return (
    <section class="recent" aria-labelledby="recent-title">
      <h2 id="recent-title" class="heading">
        Recent prints <a href="#archive">All in the archive</a>
      </h2>
      <PrintGrid prints={list} from="studio" />
    </section>
  );
}
