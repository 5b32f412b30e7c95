/** What routers do, counted on the device. */
export { type Heatmap, heatmap, type LayerSnapshot, type RoutingSnapshot, snapshotLines } from './snapshot.js';
export { RoutingTelemetry, type TelemetryBatch, type TelemetryConfig } from './telemetry.js';
