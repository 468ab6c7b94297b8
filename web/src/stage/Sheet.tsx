import type { ComponentChildren, JSX } from "preact";
import type { Job, Picture } from "../api/types";
import { promptTitle } from "../captions/caption";
import { Image } from "../ui/Image";

export const pictureAlt = (job: Job, picture: Picture): string => `${promptTitle(job.request.prompt)}, seed ${picture.seed}`;

interface FrameProps {
  width: number;
  height: number;
  left?: ComponentChildren;
  middle: ComponentChildren;
  right?: ComponentChildren;
  children: ComponentChildren;
}

// A print on its paper: the plate's mark around the picture, under it number, title and seed, as printers sign.
export function Sheet({ width, height, left, middle, right, children }: FrameProps) {
  return (
    <figure class="sheet" style={{ "--ratio": width / height } as JSX.CSSProperties}>
      <div class="plate">{children}</div>
      <figcaption class="signature">
        <span class="figure">{left}</span>
        <span class="signature-title">{middle}</span>
        <span class="figure">{right}</span>
      </figcaption>
    </figure>
  );
}

export function PictureSheet({ job, picture, href }: { job: Job; picture: Picture; href?: string }) {
  const image = <Image url={picture.url} alt={pictureAlt(job, picture)} width={picture.width} height={picture.height} eager />;
  return (
    <Sheet width={picture.width} height={picture.height} left={`${picture.index + 1}/${job.request.count}`} middle={promptTitle(job.request.prompt)} right={`№ ${picture.seed}`}>
      {href ? (
        <a href={href} aria-label={`Open: ${pictureAlt(job, picture)}`}>
          {image}
        </a>
      ) : (
        image
      )}
    </Sheet>
  );
}
