/**
 * How the blocks of the pages are run: what each page takes for granted, what is appended to its command lines so that they take seconds, and
 * which lines are not run, and why. An entry that nothing needs any more fails the check.
 */

/** Makes what pages take for granted, in a folder of its own, by the programs themselves. `$DIGITS` are images, `$PARQUET` has some, `$DEMO` is the run of the demo. */
export const world = `
ln -s $DIGITS digits
cp digits/3/$(ls digits/3 | head -1) three.png
dit-moe-trainer dataset shapes shapes --size 64 --per-class 8
dit-moe-trainer dataset shapes images --size 32 --per-class 100
head -c 100 images/circle/00004.png > images/circle/00003.png
: > images/ring/00050.png
echo no image > images/star/00007.png

mkdir -p imagenet/train runs data
cp -r shapes/circle imagenet/train/n01440764
cp -r shapes/star imagenet/train/n02099601
mkdir shards parquet
tar -cf shards/train-000.tar -C images circle/00001.png
for i in $(seq -w 001 127); do ln shards/train-000.tar shards/train-$i.tar; done
cp $PARQUET/train-0*.parquet parquet
dit-moe-trainer train-vae shapes --size 32 --downscale 8 --channels 8 --steps 2 --out vae
for name in sd-vae-ft-mse sd-vae-ft-ema; do
  mkdir -p hub/models--stabilityai--$name/refs hub/models--stabilityai--$name/snapshots
  printf %040d 0 > hub/models--stabilityai--$name/refs/main
  ln -s ../../../vae hub/models--stabilityai--$name/snapshots/$(printf %040d 0)
done
dit-moe-trainer encode imagenet/train --flip --out latents
dit-moe-trainer encode shapes --vae vae --size 32 --out small-latents

ln -s $DEMO runs/demo
dit-moe-trainer config --preset digits > my-config.yaml
echo '{base: {preset: digits, validation: {share: 0.1}}, arms: {moe: {}, dense: {model: {moe: null}}}, seeds: [0]}' > study.yaml
dit-moe-trainer train --preset digits --out runs/dense --set model.moe=null steps=2 batchSize=8
dit-moe-trainer train --preset paper-s-2-8e2a-256 --data latents --out runs/s --set model.dense=plain model.depth=2 model.hiddenSize=48 model.numHeads=2 steps=1 batchSize=2 accumulation=1
dit-moe-trainer export runs/s --to reference --out imagenet.pt
dit-moe-trainer train --preset paper-s-2-8e2a-256 --data latents --out runs/moe --set model.depth=2 model.hiddenSize=48 model.numHeads=2 steps=1 batchSize=2 accumulation=1
dit-moe-trainer export runs/moe --to reference --out moe.pt
dit-moe-trainer export runs/demo --to reference --out digits.pt
dit-moe-trainer export runs/demo --license cc-by-4.0 --out published
mkdir -p hub/models--me--digits/refs hub/models--me--digits/snapshots
printf %040d 0 > hub/models--me--digits/refs/main
ln -s ../../../published hub/models--me--digits/snapshots/$(printf %040d 0)

dit-moe-sampler sample fashion --count 6 --steps 2 --each data/fashion/train
dit-moe-sampler sample fashion --count 4 --steps 2 --seed 1 --each data/fashion/test
dit-moe-sampler generate fashion --out set --images 20 --steps 2
dit-moe-sampler merge set
dit-moe-sampler routing runs/demo --out routing --count 1 --steps 2
dit-moe-sampler evaluate digits/3 digits/5 --network pixels --out fid.json
`;

/** What each page takes for granted: names that it uses, and what they are in the world above where they have another name there. */
export const given: Readonly<Record<string, string>> = {
  'README.md': 'apps runs/demo',
  'CONTRIBUTING.md': 'apps',
  'apps/sampler/README.md': 'runs/demo three.png',
  'apps/trainer/README.md': 'my-config.yaml data/shapes=shapes',
  'docs/guides/cluster.md': 'imagenet/train photos=shapes',
  'docs/guides/evaluating.md':
    'generated-images=digits/3 real-images=digits/5 samples.npz=set/samples.npz reference.npz=set/samples.npz b.json=fid.json set data/fashion',
  'docs/guides/from-a-trained-model.md': 'my-config.yaml runs/a=runs/demo runs/demo runs/dense',
  'docs/guides/imagenet-256.md': 'imagenet/train VIRTUAL_imagenet256_labeled.npz=set/samples.npz',
  'docs/guides/latents.md': 'images my-vae=vae',
  'docs/guides/publishing.md': 'runs/a=runs/demo fid.json',
  'docs/reference/files.md': 'latents=small-latents',
  'docs/start/browser.md': 'runs/photos=runs/demo',
  'docs/start/pytorch-checkpoint.md': 'digits.pt DiT-XL-2-256x256.pt=imagenet.pt dit_moe_s_8E2A.pt=moe.pt',
  'docs/start/your-images.md': 'photos=shapes',
  'dit-moe-trainer --help': 'my-images=shapes imagenet/train',
  'dit-moe-trainer train --help': 'my-config.yaml latents',
  'dit-moe-trainer plan --help': 'my-config.yaml',
  'dit-moe-trainer sweep --help': 'study.yaml',
  'dit-moe-trainer encode --help': 'imagenet/train shards my-vae=vae data=parquet',
  'dit-moe-trainer train-classifier --help': 'data/fashion',
  'dit-moe-trainer watch --help': 'runs/a=runs/demo',
  'dit-moe-trainer export --help': 'runs/a=runs/demo',
  'dit-moe-trainer upcycle --help': 'runs/dense DiT-XL-2-256x256.pt=imagenet.pt',
  'dit-moe-trainer reduce --help': 'runs/a=runs/demo routing',
  'dit-moe-trainer inspect --help': 'runs/a=runs/demo DiT-XL-2-256x256.pt=imagenet.pt',
  'dit-moe-sampler --help': 'runs/demo real-images=digits/5',
  'dit-moe-sampler sample --help': 'runs/demo three.png left-half.png=three.png',
  'dit-moe-sampler serve --help': 'runs/demo',
  'dit-moe-sampler generate --help': 'runs/demo',
  'dit-moe-sampler merge --help': 'set',
  'dit-moe-sampler evaluate --help':
    'generated-images=digits/3 real-images=digits/5 set samples.npz=set/samples.npz VIRTUAL_imagenet256_labeled.npz=set/samples.npz other.json=fid.json',
  'dit-moe-sampler compare --help': 'ema.json=fid.json other.json=fid.json',
  'dit-moe-sampler routing --help': 'runs/demo',
};

/**
 * Appended to the commands that match, all of them in this order: of an option that is there twice the last one counts. Only numbers are made
 * small, and nothing is left out: what a command would be refused for must stay.
 */
export const small: readonly { when: RegExp; add: string }[] = [
  {
    when: /trainer train (?!.*--dry-run)/,
    add: '--set steps=4 batchSize=4 accumulation=1 sampling.steps=2',
  },
  // Those that measure.
  { when: /trainer train --preset shapes(?!.*evaluation=null)/, add: '--set evaluation.samples=8' },
  { when: /trainer train --preset paper(?!.*--dry-run)/, add: '--set model.depth=2 model.hiddenSize=48 model.numHeads=2' },
  { when: /trainer (plan|train --preset paper.*--dry-run)/, add: '--set model.depth=2' },
  {
    when: /trainer train --preset images(?!.*--dry-run)/,
    add: '--set model.depth=2 model.hiddenSize=64 model.numHeads=4 validation.samples=8',
  },
  { when: /trainer train .*--resume/, add: '--set steps=6' },
  { when: /trainer demo/, add: '--set steps=4 sampling.steps=2' },
  { when: /trainer sweep/, add: '--set steps=4 batchSize=4 validation.every=4 validation.samples=8' },
  { when: /trainer dataset shapes/, add: '--per-class 20' },
  { when: /trainer train-vae/, add: '--steps 2' },
  { when: /trainer train-classifier/, add: '--epochs 1' },
  { when: /trainer encode images/, add: '--shard-size 128' },
  { when: /trainer encode .*--size 512/, add: '--size 32' },
  { when: /trainer selftest(?!.*--(only|processes))/, add: '--only ops' },
  { when: /trainer selftest --processes/, add: '--processes 2 --only cluster' },
  { when: /trainer watch|sampler serve(?!.*--static)/, add: '--port 0' },
  { when: /sampler (sample|generate|routing) /, add: '--steps 2' },
  { when: /sampler generate/, add: '--images 8 --shard-size 4' },
  // Inception's weights are published, and not ours.
  { when: /sampler evaluate (?!.*--network)/, add: '--network pixels' },
  { when: /sampler evaluate .*sfd/, add: '--metrics fd,pr-adm' },
  { when: /sampler evaluate .*--metrics is/, add: '--metrics fd' },
  { when: /^curl/, add: '--fail --silent --show-error' },
];

/** Lines that are not run. */
export const notRun: readonly { line: RegExp; reason: string }[] = [
  { line: /^npm (un)?install /, reason: 'everything is installed here; each README is installed on its own' },
  { line: /^(npx --yes )?pnpm(@[\d.]+)? /, reason: 'needs a clone; what decides there is .ci/run' },
  { line: /^srun /, reason: 'needs Slurm; processes of one launcher are tried in the tests' },
  { line: /push-to-hub/, reason: 'sends to a hub; a stand-in takes it in the tests' },
  { line: /doctor --(un)?bundle/, reason: 'packs and unpacks 853 MB; a small stand-in is in the tests' },
];
