package platform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/fetch"
)

// aws reads the instance's user data with a session token (Amazon EC2 User
// Guide, "Use the Instance Metadata Service"). Without tokens, which version 1
// has not, it asks only when the kernel's command line has ignition.aws.imdsv1=1:
// a service that can be talked into version 1 gives the config to whoever makes
// this machine forward a request.
func aws(ctx context.Context, c Config, ask ignition.Ask) (ignition.Provided, error) {
	header := http.Header{}
	token, err := ask(ctx, ignition.Request{Method: http.MethodPut, URL: c.Metadata + "/latest/api/token",
		Header: http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"21600"}}})
	old, _ := ignition.Argument(c.CommandLine, "ignition.aws.imdsv1")
	switch {
	case errors.Is(err, fetch.ErrNotFound) && old == "1":
		c.Log.Warn("the metadata service has no session tokens: asking as version 1 does")
	case errors.Is(err, fetch.ErrNotFound):
		return ignition.Provided{}, fmt.Errorf("session token: %w: the metadata service is version 1, which is asked with ignition.aws.imdsv1=1 only", err)
	case err != nil:
		return ignition.Provided{}, fmt.Errorf("session token: %w", err)
	default:
		header.Set("X-Aws-Ec2-Metadata-Token", strings.TrimSpace(string(token)))
	}
	return served(ctx, ask, c.Metadata+"/2019-10-01/user-data", header)
}
