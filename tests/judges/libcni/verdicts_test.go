package main

import (
	"errors"
	"testing"
)

func TestACallOfTheCloudSpoilsARunAndAnIdleLookRepeatsIt(t *testing.T) {
	before := map[string]int{"AssignPrivateIpAddresses": 3, idleLook: 7}
	after := func(assigned, looked int) map[string]int {
		return map[string]int{"AssignPrivateIpAddresses": assigned, idleLook: looked}
	}
	if err := untouched(before, after(3, 7)); err != nil {
		t.Error("nothing was called:", err)
	}
	if err := untouched(before, after(3, 8)); !errors.Is(err, errLooked) {
		t.Error("an idle look:", err)
	}
	for _, now := range []map[string]int{after(4, 7), after(4, 8), after(3, 9), {idleLook: 7, "AttachNetworkInterface": 1}} {
		if err := untouched(before, now); err == nil || errors.Is(err, errLooked) {
			t.Error("not noticed:", now, err)
		}
	}
}

func TestABacklogThatGrowsFromRoundToRoundIsFound(t *testing.T) {
	if err := steady([]int{40, 50, 60, 70, 80}, 8); err == nil {
		t.Error("one link in four stays, and nobody notices")
	}
	for _, backlog := range [][]int{{40, 31, 40, 40, 38}, {0, 4, 2}, nil} {
		if err := steady(backlog, 1); err != nil {
			t.Error("a level backlog:", err)
		}
	}
}
