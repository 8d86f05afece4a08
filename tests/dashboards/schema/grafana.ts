// SPDX-License-Identifier: Apache-2.0
//
// Grafana's types, as its own front end has them, under names of ours. What a panel's `options` and `fieldConfig.defaults.custom`
// are depends on its type; Grafana declares each in a file of its own.
import type * as dashboard from './node_modules/@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen';
import type * as heatmap from './node_modules/@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from './node_modules/@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from './node_modules/@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from './node_modules/@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

export interface GrafanaDashboard extends dashboard.Dashboard {}
export interface HeatmapOptions extends heatmap.Options {}
export interface HeatmapField extends heatmap.FieldConfig {}
export interface StatOptions extends stat.Options {}
export interface TableOptions extends table.Options {}
export type TableField = table.FieldConfig;
export interface TimeseriesOptions extends timeseries.Options {}
export interface TimeseriesField extends timeseries.FieldConfig {}
