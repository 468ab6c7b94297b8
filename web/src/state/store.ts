// A value, who changes it, and who is told.
import { useEffect, useState } from "preact/hooks";

export interface Store<T> {
  get(): T;
  set(next: T | ((now: T) => T)): void;
  subscribe(listener: () => void): () => void;
}

export function createStore<T>(initial: T): Store<T> {
  let value = initial;
  const listeners = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      const made = typeof next === "function" ? (next as (now: T) => T)(value) : next;
      if (Object.is(made, value)) return;
      value = made;
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

// Draws the component again when what `select` takes of it changes.
export function useStore<T, U>(store: Store<T>, select: (value: T) => U): U {
  const [, draw] = useState(0);
  const now = select(store.get());
  useEffect(() => {
    let seen = select(store.get());
    if (!Object.is(seen, now)) draw((n) => n + 1);
    return store.subscribe(() => {
      const next = select(store.get());
      if (Object.is(next, seen)) return;
      seen = next;
      draw((n) => n + 1);
    });
  }, [store]);
  return now;
}

// What was kept under that name by an earlier visit; `check` says what it has to be.
export function recall<T>(name: string, check: (value: unknown) => T | null): T | null {
  try {
    const text = localStorage.getItem(`intaglio.${name}`);
    return text === null ? null : check(JSON.parse(text));
  } catch {
    return null; // storage is switched off, or holds something else
  }
}

export function keep(name: string, value: unknown): void {
  try {
    if (value === null) localStorage.removeItem(`intaglio.${name}`);
    else localStorage.setItem(`intaglio.${name}`, JSON.stringify(value));
  } catch {
    // Private windows may refuse; the page works without.
  }
}
