import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { say } from "../state/app";
import { Dialog } from "../ui/Dialog";
import { Icon } from "../ui/Icon";
import { Segmented } from "../ui/Segmented";
import { mask, setMask } from "./begin";
import { canvasOf, clear, hasPaint, invert, resized, share, stroke } from "./mask";

interface Props {
  address: string | undefined;
  width: number; // of the picture that is drawn
  height: number;
  onClose: () => void;
}

type Tool = "paint" | "erase";

const kSizes = { least: 0.02, most: 0.4, first: 0.12 }; // of the shorter side
const percent = (value: number): string => `${Math.round(100 * value)} %`;

// The picture with a brush over it. Keys: arrows move the brush, Space paints, E changes to erasing, [ and ] its size.
export function MaskEditor({ address, width, height, onClose }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = useRef<{ x: number; y: number } | null>(null);
  const [tool, setTool] = useState<Tool>("paint");
  const [size, setSize] = useState(kSizes.first);
  const [at, setAt] = useState<{ x: number; y: number } | null>(null); // of the brush, 0 to 1
  const [area, setArea] = useState(0);
  const across = size * Math.min(width, height);

  useEffect(() => {
    const before = mask.get();
    const now = canvas.current;
    if (!before || !now) return;
    now.getContext("2d")?.drawImage(resized(before.canvas, width, height), 0, 0);
    setArea(share(now));
  }, []);

  const measure = () => canvas.current && setArea(share(canvas.current));
  const place = (event: PointerEvent) => {
    const frame = (canvas.current as HTMLCanvasElement).getBoundingClientRect();
    return { x: (event.clientX - frame.left) / frame.width, y: (event.clientY - frame.top) / frame.height };
  };
  const paintTo = (to: { x: number; y: number }, from = to) => {
    if (!canvas.current) return;
    stroke(canvas.current, { x0: from.x * width, y0: from.y * height, x1: to.x * width, y1: to.y * height, size: across, erase: tool === "erase" });
  };
  const down = (event: PointerEvent) => {
    if (event.button !== 0) return;
    canvas.current?.setPointerCapture(event.pointerId);
    last.current = place(event);
    setAt(last.current);
    paintTo(last.current);
  };
  const move = (event: PointerEvent) => {
    const to = place(event);
    setAt(to);
    if (!last.current) return;
    paintTo(to, last.current);
    last.current = to;
  };
  const up = () => {
    if (last.current) measure();
    last.current = null;
  };
  const resize = (by: number) => setSize((now) => Math.min(kSizes.most, Math.max(kSizes.least, now + by)));
  const keys = (event: KeyboardEvent) => {
    const now = at ?? { x: 0.5, y: 0.5 };
    const step = event.shiftKey ? 0.01 : 0.05;
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (way) setAt({ x: Math.min(1, Math.max(0, now.x + (way[0] as number))), y: Math.min(1, Math.max(0, now.y + (way[1] as number))) });
    else if (event.key === " " || event.key === "Enter") {
      setAt(now);
      paintTo(now);
      measure();
    } else if (event.key === "[") resize(-0.02);
    else if (event.key === "]") resize(0.02);
    else if (event.key === "e") setTool(tool === "paint" ? "erase" : "paint");
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const change = (what: (canvas: HTMLCanvasElement) => void, words: string) => {
    if (!canvas.current) return;
    what(canvas.current);
    measure();
    say(words);
  };
  const done = () => {
    const now = canvas.current;
    if (now) {
      const copy = canvasOf(width, height);
      copy.getContext("2d")?.drawImage(now, 0, 0);
      setMask(hasPaint(now) ? copy : null);
    }
    onClose();
  };

  return (
    <Dialog label="Mask" class="mask-dialog" onClose={onClose}>
      <h2 class="heading">What is drawn anew</h2>
      <div class="mask-tools">
        <Segmented
          legend="Brush"
          name="mask-tool"
          value={tool}
          choices={[{ value: "paint", label: "Paint" }, { value: "erase", label: "Erase" }]}
          onChange={setTool}
        />
        <label class="mask-size">
          <span>Size</span>
          <input type="range" min={kSizes.least} max={kSizes.most} step={0.01} value={size} onInput={(event) => setSize(event.currentTarget.valueAsNumber)} />
        </label>
        <button type="button" class="quiet" onClick={() => change(invert, "Inverted.")}>
          Invert
        </button>
        <button type="button" class="quiet" onClick={() => change(clear, "Cleared.")}>
          Clear
        </button>
      </div>
      <div class="mask-frame" style={{ "--ratio": width / height } as JSX.CSSProperties}>
        {address && <img src={address} alt="" />}
        <canvas
          ref={canvas}
          class="mask-canvas"
          width={width}
          height={height}
          tabIndex={0}
          role="application"
          aria-label={`Mask: ${percent(area)} of the picture is drawn anew`}
          aria-describedby="mask-help"
          onPointerDown={down}
          onPointerMove={move}
          onPointerUp={up}
          onPointerCancel={up}
          onPointerLeave={() => !last.current && setAt(null)}
          onFocus={() => setAt((now) => now ?? { x: 0.5, y: 0.5 })}
          onBlur={() => setAt(null)}
          onKeyDown={keys}
        />
        {at && (
          <span
            class={`mask-brush ${tool}`}
            style={{ "--x": at.x * 100, "--y": at.y * 100, "--across": (across / width) * 100 } as JSX.CSSProperties}
          />
        )}
      </div>
      <div class="mask-foot">
        <p class="hint" id="mask-help">
          Paint over what is to change; the rest stays as it is. Keys: arrows move the brush, Space paints, E erases, [ and ] change its size.
        </p>
        <button type="button" class="quiet strong" onClick={done}>
          <Icon name="check" /> {area > 0 ? `Use it: ${percent(area)}` : "Use no mask"}
        </button>
      </div>
    </Dialog>
  );
}
