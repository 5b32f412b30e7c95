export { Cluster, type ClusterRuntime, type JoinOptions, joinCluster, PeerError } from './cluster.js';
export { type Launch, LaunchError, type LaunchOverrides, launchInfo } from './launch-info.js';
export { OpenPortError } from './open-port.js';
export { freePort, RendezvousError } from './rendezvous.js';
