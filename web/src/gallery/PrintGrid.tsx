import type { JSX } from "preact";
import { pictureAlt } from "../stage/Sheet";
import type { Print } from "../state/jobs";
import { pictureFragment } from "../state/route";
import { useStore } from "../state/store";
import { promptTitle } from "../captions/caption";
import { Icon } from "../ui/Icon";
import { Image } from "../ui/Image";
import { chosen, same, toggle } from "./chosen";

// Prints as on a wall: rows of one height, each as wide as its shape.
export function PrintGrid({ prints, from }: { prints: readonly Print[]; from: "studio" | "archive" }) {
  return (
    <ul class="prints">
      {prints.map((print) => (
        <PrintCard key={`${print.job.id}/${print.picture.index}`} print={print} from={from} />
      ))}
    </ul>
  );
}

function PrintCard({ print: { job, picture }, from }: { print: Print; from: string }) {
  const name = { id: job.id, index: picture.index };
  const picked = useStore(chosen, (list) => list.some((other) => same(other, name)));
  const alt = pictureAlt(job, picture);
  return (
    <li class={`print ${picked ? "is-picked" : ""}`} style={{ "--ratio": picture.width / picture.height } as JSX.CSSProperties}>
      <a href={pictureFragment(from, job.id, picture.index)}>
        <Image url={picture.url} alt={alt} width={picture.width} height={picture.height} />
        <span class="print-title" aria-hidden="true">
          {promptTitle(job.request.prompt)}
        </span>
      </a>
      <button type="button" class="pick" aria-pressed={picked} aria-label={`Compare: ${alt}`} title="Pick for comparing" onClick={() => toggle(name)}>
        <Icon name={picked ? "check" : "compare"} />
      </button>
    </li>
  );
}
