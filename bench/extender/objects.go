package main

import (
	"context"
	"fmt"
	"log"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

var nodeNetworks = schema.GroupVersionResource{Group: "tideway.dev", Version: "v1alpha1", Resource: "nodenetworks"}

func there(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func nodeName(i int) string { return fmt.Sprintf("fake-node-%05d", i) }

// makeNodes needs an API server without the admission plugin TaintNodesByCondition, or nobody takes the taint away.
func makeNodes(ctx context.Context) {
	start, c, nn := time.Now(), client(), networks()
	parallel(*count, func(i int) error {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "tideway.dev/v1alpha1", "kind": "NodeNetwork",
			"metadata": map[string]any{"name": nodeName(i)}, "spec": map[string]any{},
		}}
		if _, err := nn.Create(ctx, object, metav1.CreateOptions{}); there(err) != nil {
			return err
		}
		addresses := int64(*each)
		if *rich >= 0 && i%max(*count/max(*rich, 1), 1) != 0 || *rich == 0 {
			addresses = 0
		}
		object.Object["status"] = status(addresses)
		body, err := object.MarshalJSON()
		if err != nil {
			return err
		}
		if _, err := nn.Patch(ctx, nodeName(i), "application/merge-patch+json", body, metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
		_, err = c.CoreV1().Nodes().Create(ctx, node(i), metav1.CreateOptions{})
		return there(err)
	})
	log.Printf("%d nodes in %.1f s", *count, time.Since(start).Seconds())
}

// status of a node whose addresses are all there and free.
func status(addresses int64) map[string]any {
	condition := func(kind string) any {
		return map[string]any{"type": kind, "status": "True", "reason": "Fake", "message": "", "lastTransitionTime": ""}
	}
	return map[string]any{
		"instance":       map[string]any{"id": "i-fake", "type": "ecs.fake", "zone": ""},
		"adapters":       map[string]any{"limit": int64(8), "shared": int64(8)},
		"shared":         map[string]any{"capacity": addresses, "held": addresses, "ready": addresses},
		"subnets":        []any{map[string]any{"id": "vsw-fake", "free": int64(60000)}},
		"cooldownMillis": int64(30000),
		"conditions":     []any{condition("Ready"), condition("CloudReachable"), condition("SubnetHasRoom")},
	}
}

func node(i int) *v1.Node {
	name, now := nodeName(i), metav1.Now()
	has := v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("32"), v1.ResourceMemory: resource.MustParse("128Gi"),
		v1.ResourcePods: resource.MustParse("110"), v1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	condition := func(kind v1.NodeConditionType, status v1.ConditionStatus, reason string) v1.NodeCondition {
		return v1.NodeCondition{Type: kind, Status: status, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
			"topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3), "topology.kubernetes.io/region": "region-1",
			"node.kubernetes.io/instance-type": "ecs.g7.8xlarge",
		}},
		Spec: v1.NodeSpec{ProviderID: "fake." + name},
		Status: v1.NodeStatus{
			Capacity: has, Allocatable: has,
			Conditions: []v1.NodeCondition{
				condition(v1.NodeReady, v1.ConditionTrue, "KubeletReady"),
				condition(v1.NodeMemoryPressure, v1.ConditionFalse, "KubeletHasSufficientMemory"),
				condition(v1.NodeDiskPressure, v1.ConditionFalse, "KubeletHasNoDiskPressure"),
				condition(v1.NodePIDPressure, v1.ConditionFalse, "KubeletHasSufficientPID"),
			},
			Addresses: []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: fmt.Sprintf("10.64.%d.%d", i/250, i%250+1)}, {Type: v1.NodeHostName, Address: name}},
			NodeInfo:  v1.NodeSystemInfo{KubeletVersion: "v1.34.4", OperatingSystem: "linux", Architecture: "amd64", OSImage: "Fake"},
		},
	}
}

func pod(i int) *v1.Pod {
	no, zero := false, int64(0)
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%06d", *prefix, i), Namespace: namespace, Labels: map[string]string{"app": *prefix}},
		Spec: v1.PodSpec{
			AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &zero,
			Containers: []v1.Container{{Name: "c", Image: "none", Resources: v1.ResourceRequirements{
				Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("10m")},
			}}},
		},
	}
	p.Spec.HostNetwork = *onHost
	if *bound > 0 {
		p.Spec.NodeName = nodeName(i % *bound)
	}
	return p
}

func ensureNamespace(ctx context.Context, c kubernetes.Interface) {
	object := &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := c.CoreV1().Namespaces().Create(ctx, object, metav1.CreateOptions{}); there(err) != nil {
		log.Fatal(err)
	}
}

func makePods(ctx context.Context) {
	c := client()
	ensureNamespace(ctx, c)
	start := time.Now()
	parallel(*count, func(i int) error {
		_, err := c.CoreV1().Pods(namespace).Create(ctx, pod(i), metav1.CreateOptions{})
		return err
	})
	log.Printf("%d pods in %.1f s", *count, time.Since(start).Seconds())
}

// stir changes an annotation of one node after another: the scheduler tries every refused pod again after such an event.
func stir(ctx context.Context) {
	c, end := client(), time.Now().Add(*span)
	for i := 0; time.Now().Before(end); i++ {
		body := fmt.Appendf(nil, `{"metadata":{"annotations":{"bench":"%d"}}}`, i)
		if _, err := c.CoreV1().Nodes().Patch(ctx, nodeName(i%20), types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
			log.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func wipe(ctx context.Context) {
	c, now := client(), int64(0)
	for {
		l, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: 5000})
		if err != nil {
			log.Fatal(err)
		}
		if len(l.Items) == 0 {
			break
		}
		parallel(len(l.Items), func(i int) error {
			err := c.CoreV1().Pods(namespace).Delete(ctx, l.Items[i].Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	if !*nodesToo {
		return
	}
	if err := c.CoreV1().Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		log.Fatal(err)
	}
	if err := networks().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		log.Fatal(err)
	}
}
