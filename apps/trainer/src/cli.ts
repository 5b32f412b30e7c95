#!/usr/bin/env node
/** Command line of the trainer. */
import { main } from '@dit-moe/kit';
import { program } from './program.js';

await main(program);
