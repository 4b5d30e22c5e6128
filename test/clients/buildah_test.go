package clients

import "testing"

func TestBuildah(t *testing.T) { hold(t, newPodman(t, "buildah"), guarded(t, false)) }
