import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { getJob } from "../api/client";
import { parseCaption } from "../captions/caption";
import { PictureSheet } from "../stage/Sheet";
import { reuseSettings } from "../composer/draw";
import { beginFromUrl } from "../begin/begin";
import { addJobs, edit, info, jobs, notify, remove, report } from "../state/app";
import { allJobs, prints } from "../state/jobs";
import { go, pictureFragment, type Route } from "../state/route";
import { useStore } from "../state/store";
import { Dialog } from "../ui/Dialog";
import { Icon } from "../ui/Icon";
import { download } from "../ui/picture";
import { BeganFrom } from "./BeganFrom";
import { chosen, same, toggle } from "./chosen";
import { factsOf, fileName } from "./facts";

type Props = Extract<Route, { view: "picture" }>;

// One picture in full, with all that is known of it.
export function PictureDialog({ id, index, from }: Props) {
  const now = useStore(jobs, (j) => j);
  const [sure, setSure] = useState(false);
  const [gone, setGone] = useState(false);
  const able = useStore(info, (i) => i?.models.some((m) => m.init_image) ?? false);
  const list = prints(allJobs(now));
  const at = list.findIndex((p) => p.job.id === id && p.picture.index === index);
  const print = list[at];
  const close = () => go(from);
  const picked = useStore(chosen, (c) => c.some((name) => same(name, { id, index })));

  useEffect(() => setSure(false), [id, index]);
  useEffect(() => {
    if (print) return;
    getJob(id).then((job) => (job.pictures.some((p) => p.index === index) ? addJobs([job]) : setGone(true)), (error: unknown) => {
      setGone(true);
      report(error);
    });
  }, [id, index, print === undefined]);

  const beside = (by: number) => {
    const next = list[at + by];
    if (at >= 0 && next) go(pictureFragment(from, next.job.id, next.picture.index));
  };
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if (event.target instanceof HTMLInputElement) return;
      if (event.key === "ArrowLeft") beside(-1);
      if (event.key === "ArrowRight") beside(1);
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  });

  if (!print) {
    return (
      <Dialog label="Picture" onClose={close}>
        <p class="empty">{gone ? "This picture is not there any more." : "Fetching the picture…"}</p>
      </Dialog>
    );
  }
  const { job, picture } = print;
  const caption = parseCaption(job.request.prompt);
  return (
    <Dialog label="Picture" class="viewer" onClose={close}>
      <div class="viewer-wall" style={{ "--ratio": picture.width / picture.height } as JSX.CSSProperties}>
        <PictureSheet job={job} picture={picture} />
        <button type="button" class="tool turn is-left" aria-label="Newer picture" disabled={at <= 0} onClick={() => beside(-1)}>
          <Icon name="left" />
        </button>
        <button type="button" class="tool turn is-right" aria-label="Older picture" disabled={at >= list.length - 1} onClick={() => beside(1)}>
          <Icon name="right" />
        </button>
      </div>
      <div class="viewer-facts">
        <h2 class="unseen">About this picture</h2>
        <p class="viewer-prompt">{caption?.summary || job.request.prompt}</p>
        {caption && <pre class="json" tabIndex={0} aria-label="Caption">{job.request.prompt}</pre>}
        {job.warnings.map((text) => (
          <p key={text} class="warning">
            {text}
          </p>
        ))}
        {job.request.init_image && <BeganFrom job={job} />}
        <dl class="facts">
          {factsOf(print).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        <div class="viewer-actions">
          <button type="button" class="quiet strong" onClick={() => reuseSettings(job, picture.seed)}>
            <Icon name="reuse" /> Reuse settings
          </button>
          {able && (
            <button
              type="button"
              class="quiet"
              onClick={() =>
                void beginFromUrl(picture.url).then((from) => {
                  edit({ width: from.width, height: from.height });
                  go("studio");
                  notify("info", "The next picture begins from this one.");
                }, report)
              }
            >
              <Icon name="picture" /> Begin from this
            </button>
          )}
          <button type="button" class="quiet" onClick={() => void download(picture.url, fileName(print)).catch(report)}>
            <Icon name="download" /> Download
          </button>
          <button
            type="button"
            class="quiet"
            aria-pressed={picked}
            onClick={() => {
              toggle({ id, index });
              if (!picked) close();
            }}
          >
            <Icon name={picked ? "check" : "compare"} /> {picked ? "Picked" : "Compare…"}
          </button>
          <button
            type="button"
            class={`quiet ${sure ? "danger" : ""}`}
            onClick={() => {
              if (!sure) return setSure(true);
              void remove(job).then((done) => done && close());
            }}
          >
            <Icon name="trash" /> {sure ? (job.pictures.length > 1 ? `Delete all ${job.pictures.length}?` : "Really delete?") : "Delete"}
          </button>
        </div>
      </div>
    </Dialog>
  );
}
