import { useState } from "preact/hooks";
import { captionText, kPaletteOfCaption, newElement, type Caption, type Element, type ElementKind, type StyleKind } from "../captions/caption";
import { freeBox, type Box } from "../captions/boxes";
import { draft, edit, info, problems, say } from "../state/app";
import { modelOf, placesOf } from "../state/draft";
import { useStore } from "../state/store";
import { Problem, TextField } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { Segmented } from "../ui/Segmented";
import { BoxArea } from "./BoxArea";
import { ElementForm } from "./ElementForm";
import { Palette } from "./Palette";

// A caption by hand: what the whole is, what stands where, what is behind, in which style.
export function CaptionEditor() {
  const now = useStore(draft, (d) => d);
  const known = useStore(info, (i) => i);
  const problem = useStore(problems, (p) => p.prompt);
  const [chosen, setChosen] = useState<number | null>(null);
  const [kind, setKind] = useState<ElementKind>("text");
  const { caption } = now;
  const model = known && modelOf(now, known);
  const places = placesOf(now, model);
  const change = (part: Partial<Caption>) => edit({ caption: { ...draft.get().caption, ...part } });
  const setElement = (key: number, part: Partial<Element>) =>
    change({ elements: draft.get().caption.elements.map((e) => (e.key === key ? { ...e, ...part } : e)) });
  const add = (of: ElementKind, box: Box) => {
    const key = 1 + Math.max(0, ...caption.elements.map((e) => e.key));
    change({ elements: [...caption.elements, newElement(key, of, box)] });
    setChosen(key);
    requestAnimationFrame(() => document.getElementById(of === "text" ? "element-text" : "element-desc")?.focus());
  };
  const removeElement = (key: number) => {
    change({ elements: draft.get().caption.elements.filter((e) => e.key !== key) });
    setChosen(null);
    say("Removed.");
  };
  const boxes = caption.elements.flatMap((e) => (e.box ? [e.box] : []));
  const element = caption.elements.find((e) => e.key === chosen);
  const number = element ? caption.elements.indexOf(element) + 1 : 0;
  return (
    <div class="caption">
      <TextField id="summary" label="The picture in a sentence" rows={2} value={caption.summary} placeholder="e.g. a red apple above the word CAT" onChange={(summary) => change({ summary })} />
      <div class="layout-tools">
        <Segmented
          legend="What a drawn box holds"
          name="box-kind"
          value={kind}
          choices={[{ value: "text", label: "Text" }, { value: "obj", label: "Object" }]}
          onChange={setKind}
        />
        <button type="button" class="quiet" onClick={() => add(kind, freeBox(boxes))}>
          <Icon name="plus" /> Add {kind === "text" ? "text" : "object"}
        </button>
      </div>
      <BoxArea
        elements={caption.elements}
        chosen={chosen}
        ratio={(now.width ?? model?.default_width ?? 1) / (now.height ?? model?.default_height ?? 1)}
        onChoose={setChosen}
        onDraw={(box) => add(kind, box)}
        onBox={(key, box) => setElement(key, { box })}
        onRemove={removeElement}
      />
      {caption.elements.length > 0 && (
        <ul class="element-list" aria-label="Elements">
          {caption.elements.map((e, i) => (
            <li key={e.key}>
              <button type="button" class="chip" aria-pressed={e.key === chosen} onClick={() => setChosen(e.key === chosen ? null : e.key)}>
                <Icon name={e.kind === "text" ? "letter" : "object"} />
                {(e.kind === "text" ? e.text : e.desc) || `Element ${i + 1}`}
              </button>
            </li>
          ))}
        </ul>
      )}
      {element && (
        <ElementForm
          key={element.key}
          element={element}
          number={number}
          onChange={(part) => setElement(element.key, part)}
          onPlace={(on) => setElement(element.key, { box: on ? freeBox(boxes) : null })}
          onRemove={() => removeElement(element.key)}
        />
      )}
      <Problem id="caption-problem" text={problem} />
      <TextField id="background" label="Background" value={caption.background} placeholder="e.g. yellow" onChange={(background) => change({ background })} />
      <details class="more">
        <summary>Style, places and the caption itself</summary>
        <div class="more-body">
          <Segmented<StyleKind>
            legend="Style"
            name="style"
            value={caption.style}
            choices={[{ value: "none", label: "Open" }, { value: "photo", label: "Photograph" }, { value: "art", label: "Artwork" }]}
            onChange={(style) => change({ style })}
          />
          {caption.style !== "none" && (
            <>
              <TextField id="aesthetics" label="Mood" value={caption.aesthetics} placeholder="e.g. quiet, warm" onChange={(aesthetics) => change({ aesthetics })} />
              <TextField id="lighting" label="Light" value={caption.lighting} placeholder="e.g. low evening sun" onChange={(lighting) => change({ lighting })} />
              <TextField id="medium" label="Medium" value={caption.medium} placeholder={caption.style === "photo" ? "photograph" : "e.g. engraving"} onChange={(medium) => change({ medium })} />
              <TextField id="look" label={caption.style === "photo" ? "Camera" : "Manner"} value={caption.look} placeholder={caption.style === "photo" ? "e.g. 85 mm, shallow focus" : "e.g. fine parallel lines"} onChange={(look) => change({ look })} />
              <Palette id="palette" label="Colours of the picture" colours={caption.palette} limit={kPaletteOfCaption} onChange={(palette) => change({ palette })} />
            </>
          )}
          <div class="field">
            <span class="label">Places are told</span>
            <Segmented
              legend="How places are told to the model"
              name="places"
              value={places}
              choices={[
                { value: "boxes", label: "As boxes", hint: "Ideogram 4 was trained so" },
                { value: "words", label: "In words", hint: "The bundled model knows “at the top” but no boxes" },
              ]}
              onChange={(value) => edit({ places: value })}
            />
          </div>
          <div class="field">
            <span class="label" id="caption-json">What is sent</span>
            <pre class="json" tabIndex={0} aria-labelledby="caption-json">{captionText(caption, places)}</pre>
          </div>
        </div>
      </details>
    </div>
  );
}
