import type { Job, KeptPicture } from "../api/types";
import { Image } from "../ui/Image";

// What a picture began from, and its mask.
export function BeganFrom({ job }: { job: Job }) {
  const parts: [string, string, KeptPicture | null][] = [
    ["init_image", "Began from", job.request.init_image],
    ["mask", "Its mask: white is new", job.request.mask],
  ];
  return (
    <div class="began">
      {parts.map(([name, words, kept]) =>
        kept ? (
          <figure key={name}>
            <Image url={`/api/jobs/${job.id}/${name}.png`} alt={words} width={kept.width} height={kept.height} />
            <figcaption>{words}</figcaption>
          </figure>
        ) : null,
      )}
    </div>
  );
}
