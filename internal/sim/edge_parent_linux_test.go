package sim_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const orphanVariable = "SIM_TEST_WORLD_TO_KILL"

// TestWorkerdDiesWithTheWorld kills a process that runs a world, as a test that times out would be, and looks whether its
// workerd is still listening.
func TestWorkerdDiesWithTheWorld(t *testing.T) {
	if os.Getenv(orphanVariable) != "" {
		c := withRuntime(t)
		uploadWorker(c, "orphan", `return new Response("here");`)
		fmt.Printf("says %s at %s\n", say(c, "orphan"), c.w.ProcessAddress())
		select {}
	}
	withRuntime(t) // skips without workerd
	cmd := exec.Command(os.Args[0], "-test.run=^TestWorkerdDiesWithTheWorld$")
	cmd.Env = append(os.Environ(), orphanVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	_ = cmd.Wait() // killed on purpose
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "says here at ")
	if !ok {
		t.Fatalf("the world said %q, %v", line, err)
	}
	// The kernel's signal is sent with the death, but acted on a moment later.
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		conn.Close()
	}
	t.Errorf("workerd still listens at %s after the world was killed", address)
}
