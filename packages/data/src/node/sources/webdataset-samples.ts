/**
 * Samples of a tar shard. Members of one sample share their name up to the first dot (`a/000017.jpg`, `a/000017.cls`), wherever they
 * lie in the archive. Names with more dots are told apart from several images of one sample: see {@link samplesOf}.
 */
import { FormatError } from '@dit-moe/tensor-ops/io';
import { imageExtensions, type LeftOutCounter } from './image-source.js';
import type { TarMember } from './tar.js';

export interface Sample {
  /** Name of the sample. */
  key: string;
  image: TarMember;
  /** Members that may say what it is, by their ending: `cls`, `json`, `txt`. */
  labels: ReadonlyMap<string, TarMember>;
  /** Ending of the image. */
  ending: string;
}

/** Endings of members that may say what the image is. */
export const LABEL_ENDINGS = ['cls', 'json', 'txt'];
/** Endings that say the same as `.cls`. */
const CLASS_ENDING = /\.(cls|class|label)(\.txt)?$/i;

interface Named {
  member: TarMember;
  /** Name without its last ending. */
  stem: string;
  ending: string;
}

/**
 * The samples of a shard in the order of their images.
 *
 * Of several images of one name up to the first dot, that without a further part is the sample's (`7.png` beside `7.mask.png`). Where
 * there is none, images are samples of their own if what tells them apart is a number or if they have labels of their own
 * (`scan.1.png`, `scan.1.cls`); else the first is the sample's.
 * @throws FormatError if a name is there twice
 */
export function samplesOf(shard: string, members: readonly TarMember[], leftOut: LeftOutCounter): Sample[] {
  const groups = new Map<string, Named[]>();
  const names = new Set<string>();
  for (const member of members) {
    const { name } = member;
    const base = name.lastIndexOf('/') + 1;
    const [first, last] = [name.indexOf('.', base), name.lastIndexOf('.')];
    // Hidden members, and those without an ending.
    if (first === base) continue;
    if (names.has(name))
      throw new FormatError(shard, `the name ${name} is there twice: which of the two belongs to its sample cannot be told.`);
    names.add(name);
    if (first < 0) {
      leftOut.add('member without an ending', 'members without an ending', `${shard}: ${name}`);
      continue;
    }
    const key = name.slice(0, first);
    const group = groups.get(key);
    const stem = name.replace(CLASS_ENDING, '');
    const named =
      stem.length > base && stem !== name
        ? { member, stem, ending: 'cls' }
        : { member, stem: name.slice(0, last), ending: name.slice(last + 1).toLowerCase() };
    if (group === undefined) groups.set(key, [named]);
    else group.push(named);
  }
  const samples: Sample[] = [];
  for (const [key, group] of groups) samples.push(...samplesOfGroup(shard, key, group, leftOut));
  return samples.sort((a, b) => a.image.offset - b.image.offset);
}

function samplesOfGroup(shard: string, key: string, group: readonly Named[], leftOut: LeftOutCounter): Sample[] {
  const images = group.filter(({ ending }) => imageExtensions.has(ending));
  const labels = group.filter(({ ending }) => LABEL_ENDINGS.includes(ending));
  if (images.length === 0) {
    leftOut.add('sample without an image', 'samples without an image', `${shard}: ${group[0].member.name}`);
    return [];
  }
  const sample = ({ member, stem, ending }: Named, name: string, own: readonly Named[]): Sample => ({
    key: name,
    image: member,
    ending,
    labels: new Map(
      LABEL_ENDINGS.flatMap((wanted) => {
        const of = own.filter((label) => label.ending === wanted);
        const found =
          of.find((label) => label.stem === stem) ?? of.find((label) => label.stem === key) ?? (of.length === 1 ? of[0] : undefined);
        return found === undefined ? [] : [[wanted, found.member] as const];
      }),
    ),
  });
  const plain = images.find(({ stem }) => stem === key);
  const apart = (stem: string): boolean =>
    /^\d+$/.test(stem.slice(key.length + 1)) || labels.some((label) => label.stem === stem && label.ending !== 'txt');
  if (plain === undefined && images.every(({ stem }) => apart(stem))) {
    // Two images of one name and different endings are one sample.
    const stems = new Map(images.map((image) => [image.stem, image]));
    for (const image of images)
      if (stems.get(image.stem) !== image)
        leftOut.add('further image of a sample', 'further images of samples', `${shard}: ${image.member.name}`);
    return [...stems].map(([stem, image]) =>
      sample(
        image,
        stem,
        labels.filter((label) => label.stem === stem || label.stem === key),
      ),
    );
  }
  const taken = plain ?? images[0];
  for (const image of images)
    if (image !== taken) leftOut.add('further image of a sample', 'further images of samples', `${shard}: ${image.member.name}`);
  return [sample(taken, key, labels)];
}
