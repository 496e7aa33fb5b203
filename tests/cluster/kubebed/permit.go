package main

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

const (
	// slowPermitName is what a profile enables; without that the plugin does nothing.
	slowPermitName = "SlowPermit"
	// slowPermitFor on a pod says how long its permit takes.
	slowPermitFor = "tideway.test/permit"
	// slowPermitMost is longer than any test waits: beyond it the pod is refused.
	slowPermitMost = 10 * time.Minute
)

// slowPermit lets a pod wait between the choice of its node and the binding, as plugins do that gather a group of pods first.
type slowPermit struct{ handle framework.Handle }

func newSlowPermit(_ context.Context, _ runtime.Object, handle framework.Handle) (framework.Plugin, error) {
	return &slowPermit{handle}, nil
}

func (*slowPermit) Name() string { return slowPermitName }

func (p *slowPermit) Permit(_ context.Context, _ fwk.CycleState, pod *v1.Pod, _ string) (*fwk.Status, time.Duration) {
	text, asked := pod.Annotations[slowPermitFor]
	if !asked {
		return nil, 0
	}
	wait, err := time.ParseDuration(text)
	if err != nil {
		return fwk.AsStatus(fmt.Errorf("annotation %s: %w", slowPermitFor, err)), 0
	}
	// The pod waits only after this call, which no wait of a test is too short for.
	time.AfterFunc(wait, func() {
		if waiting := p.handle.GetWaitingPod(pod.UID); waiting != nil {
			waiting.Allow(slowPermitName)
		}
	})
	return fwk.NewStatus(fwk.Wait), slowPermitMost
}
