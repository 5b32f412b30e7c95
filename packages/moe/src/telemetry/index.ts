/** What routers do, counted on the device or on the host. */
export { type HostRoutingTables, meanPerToken, type RoutedBatch, RoutingCounter, type RoutingCounterConfig } from './counter.js';
export type { LayerSnapshot, RoutingSnapshot } from './snapshot.js';
export { columnShares, evenness, loadByKind, type RoutingTables, specialisation } from './tables.js';
export { RoutingTelemetry, type TelemetryBatch, type TelemetryConfig } from './telemetry.js';
