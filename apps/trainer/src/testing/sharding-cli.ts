/** For tests: the command line of the trainer, which writes every state of a cluster in shards. */
import { main } from '@dit-moe/kit';
import { program } from '../program.js';
import { sharding } from '../training/checkpoints.js';

sharding.aboveBytes = 0;
await main(program);
