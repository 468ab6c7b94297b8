import { kPaletteOfElement, type Element } from "../captions/caption";
import { boxWords } from "../captions/boxes";
import { TextField } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { Palette } from "./Palette";

interface Props {
  element: Element;
  number: number;
  onChange: (part: Partial<Element>) => void;
  onPlace: (on: boolean) => void;
  onRemove: () => void;
}

export function ElementForm({ element, number, onChange, onPlace, onRemove }: Props) {
  const written = element.kind === "text";
  return (
    <fieldset class="element-form">
      <legend class="unseen">Element {number}</legend>
      {written && <TextField id="element-text" label="Words to be read" value={element.text} placeholder="e.g. CAT" onChange={(text) => onChange({ text })} />}
      <TextField
        id="element-desc"
        label={written ? "How they look" : "What it is"}
        value={element.desc}
        placeholder={written ? "e.g. red serif letters" : "e.g. a red apple"}
        onChange={(desc) => onChange({ desc })}
      />
      <Palette id="element-palette" label="Colours" colours={element.palette} limit={kPaletteOfElement} onChange={(palette) => onChange({ palette })} />
      <div class="element-foot">
        <label class="tick">
          <input type="checkbox" checked={element.box !== null} onChange={(event) => onPlace(event.currentTarget.checked)} />
          <span>{element.box ? `Placed ${boxWords(element.box)}` : "Give it a place"}</span>
        </label>
        <button type="button" class="quiet" onClick={onRemove}>
          <Icon name="trash" /> Remove
        </button>
      </div>
    </fieldset>
  );
}
