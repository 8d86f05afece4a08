// SPDX-License-Identifier: Apache-2.0
//
// Kubernetes' objects as types: what the schemas of kubernetes-models leave open (they take unknown members), these do not.
import type { IDeployment } from 'kubernetes-models/apps/v1/Deployment';
import type { IPodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor';

export type Deployment = IDeployment;
export type PodMonitor = IPodMonitor;
