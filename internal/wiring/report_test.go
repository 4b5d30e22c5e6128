package wiring

import (
	"strings"
	"testing"
)

// A crash leaves a torn line in the audit log for good: docs say so, and every
// later report has to live with it.
func TestTornAuditLineDoesNotEndReports(t *testing.T) {
	list, err := readAudit(strings.NewReader("{\"action\":\"attest\"}\n{\"time\":\"2026\n{\"action\":\"get-resource\"}\n"))
	if err != nil || len(list) != 2 || list[1].Action != "get-resource" {
		t.Errorf("got %+v, %v, want two entries", list, err)
	}
}
