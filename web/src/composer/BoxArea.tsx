import { useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { boxBetween, boxWords, kGrid, pull, type Box, type Handle } from "../captions/boxes";
import type { Element } from "../captions/caption";
import { say } from "../state/app";

interface Props {
  elements: readonly Element[];
  chosen: number | null;
  ratio: number; // width / height of the picture
  onChoose: (key: number | null) => void;
  onDraw: (box: Box) => void;
  onBox: (key: number, box: Box) => void;
  onRemove: (key: number) => void;
}

const kHandles: readonly Handle[] = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const kDrawn = 30; // a shorter way of the pointer is a click

type Drag = { x: number; y: number } & ({ kind: "draw" } | { kind: "pull"; key: number; handle: Handle; box: Box });

// CSS custom properties, set through the object model: the page's policy forbids style attributes.
export const placed = (box: Box): JSX.CSSProperties =>
  ({ "--y0": box[0] / 10, "--x0": box[1] / 10, "--y1": box[2] / 10, "--x1": box[3] / 10 }) as JSX.CSSProperties;

export function BoxArea({ elements, chosen, ratio, onChoose, onDraw, onBox, onRemove }: Props) {
  const area = useRef<HTMLDivElement>(null);
  const drag = useRef<Drag | null>(null);
  const [ghost, setGhost] = useState<Box | null>(null);

  const at = (event: PointerEvent) => {
    const frame = (area.current as HTMLDivElement).getBoundingClientRect();
    return { x: ((event.clientX - frame.left) / frame.width) * kGrid, y: ((event.clientY - frame.top) / frame.height) * kGrid };
  };
  const down = (event: PointerEvent) => {
    if (event.button !== 0) return;
    const point = at(event);
    const target = event.target as HTMLElement;
    const key = Number(target.closest<HTMLElement>("[data-key]")?.dataset["key"] ?? NaN);
    const element = elements.find((e) => e.key === key);
    (area.current as HTMLDivElement).setPointerCapture(event.pointerId);
    if (element?.box) {
      onChoose(key);
      drag.current = { ...point, kind: "pull", key, handle: (target.dataset["handle"] as Handle | undefined) ?? "move", box: element.box };
    } else {
      drag.current = { ...point, kind: "draw" };
    }
  };
  const move = (event: PointerEvent) => {
    const now = drag.current;
    if (!now) return;
    const { x, y } = at(event);
    if (now.kind === "pull") onBox(now.key, pull(now.box, now.handle, x - now.x, y - now.y));
    else if (Math.hypot(x - now.x, y - now.y) > kDrawn) setGhost(boxBetween(now.x, now.y, x, y));
  };
  const up = () => {
    if (drag.current?.kind === "draw") {
      if (ghost) onDraw(ghost);
      else onChoose(null);
    }
    drag.current = null;
    setGhost(null);
  };
  const keys = (event: KeyboardEvent, element: Element) => {
    if (!element.box) return;
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      area.current?.focus();
      return onRemove(element.key);
    }
    const step = event.ctrlKey || event.metaKey ? 1 : 20;
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (!way) return;
    event.preventDefault();
    const box = pull(element.box, event.shiftKey ? "se" : "move", way[0] as number, way[1] as number);
    onBox(element.key, box);
    say(boxWords(box));
  };

  return (
    <div class="layout-frame">
      <div
        ref={area}
        class="layout-area"
        role="group"
        tabIndex={-1}
        aria-label="Places in the picture"
        aria-describedby="layout-help"
        style={{ "--ratio": ratio } as JSX.CSSProperties}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={up}
      >
        {elements.map((element, i) =>
          element.box ? (
            <button
              key={element.key}
              type="button"
              class={`box ${element.kind}`}
              data-key={element.key}
              aria-pressed={element.key === chosen}
              aria-label={`${element.kind === "text" ? "Text" : "Object"} ${i + 1}, ${(element.kind === "text" ? element.text : element.desc) || "empty"}: ${boxWords(element.box)}`}
              style={placed(element.box)}
              onFocus={() => onChoose(element.key)}
              onKeyDown={(event) => keys(event, element)}
            >
              <span class="box-words">{(element.kind === "text" ? element.text : element.desc) || (element.kind === "text" ? "Text" : "Object")}</span>
              {element.key === chosen && kHandles.map((handle) => <span key={handle} class={`handle ${handle}`} data-handle={handle} />)}
            </button>
          ) : null,
        )}
        {ghost && <span class="box ghost" style={placed(ghost)} />}
        {elements.length === 0 && !ghost && <p class="layout-hint">Draw a box where words or things should be</p>}
      </div>
      <p class="hint" id="layout-help">
        Drag to draw, move, resize. Keys: arrows move, Shift resizes, Ctrl finely, Delete removes.
      </p>
    </div>
  );
}
