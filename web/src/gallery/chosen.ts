// The one or two pictures that were picked to be compared.
import { createStore } from "../state/store";

export interface PictureName {
  id: string; // of the job
  index: number;
}

export const chosen = createStore<readonly PictureName[]>([]);
export const comparing = createStore(false);

export const same = (a: PictureName, b: PictureName): boolean => a.id === b.id && a.index === b.index;

// A third takes the place of the second.
export function toggled(list: readonly PictureName[], name: PictureName): readonly PictureName[] {
  if (list.some((other) => same(other, name))) return list.filter((other) => !same(other, name));
  return [...list.slice(0, 1), name];
}

export const toggle = (name: PictureName): void => chosen.set((list) => toggled(list, name));
