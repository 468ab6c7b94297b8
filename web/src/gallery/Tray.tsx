import { jobs } from "../state/app";
import { useStore } from "../state/store";
import { Image } from "../ui/Image";
import { chosen, comparing, type PictureName } from "./chosen";
import { Compare } from "./Compare";

// What is picked for comparing, at the foot of the page.
export function Tray() {
  const names = useStore(chosen, (c) => c);
  const open = useStore(comparing, (c) => c);
  const byId = useStore(jobs, (j) => j.byId);
  const found = names.flatMap((name: PictureName) => {
    const job = byId.get(name.id);
    const picture = job?.pictures.find((p) => p.index === name.index);
    return job && picture ? [{ job, picture }] : [];
  });
  const [first, second] = found;
  if (open && first && second) return <Compare left={first} right={second} onClose={() => comparing.set(false)} />;
  if (!first) return null;
  return (
    <aside class="tray" aria-label="Comparing">
      <div class="tray-pictures">
        {found.map(({ job, picture }) => (
          <Image key={`${job.id}/${picture.index}`} url={picture.url} alt="" width={picture.width} height={picture.height} eager />
        ))}
      </div>
      <p>{second ? "Two pictures" : "Pick a second picture"}</p>
      <button type="button" class="quiet strong" disabled={!second} onClick={() => comparing.set(true)}>
        Compare
      </button>
      <button type="button" class="quiet" onClick={() => chosen.set([])}>
        Clear
      </button>
    </aside>
  );
}
