// kt is a whole Kubernetes control plane, a kubelet and a kubectl in one binary.
//
// The first argument picks the program; each behaves as its upstream binary does.
// One binary links the shared libraries once, which makes it several times
// smaller and faster to build than six.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	// The upstream mains register these too: JSON logs and the metrics of client and version.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// programs maps the first argument to a function that runs that program and returns its exit code.
var programs = map[string]func() int{
	"etcd": func() int {
		etcdmain.Main(os.Args)
		return 0
	},
	"kube-apiserver":          cobraProgram(func() *cobra.Command { return kubeapiserver.NewAPIServerCommand() }),
	"kube-controller-manager": cobraProgram(func() *cobra.Command { return controllers.NewControllerManagerCommand() }),
	"kube-scheduler":          cobraProgram(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubelet":                 cobraProgram(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl":                 cobraProgram(func() *cobra.Command { return cmd.NewDefaultKubectlCommand() }),
}

func cobraProgram(build func() *cobra.Command) func() int {
	return func() int { return cli.Run(build()) }
}

func main() {
	if len(os.Args) >= 2 {
		if run, known := programs[os.Args[1]]; known {
			os.Args = os.Args[1:]
			os.Exit(run())
		}
	}
	names := make([]string, 0, len(programs))
	for name := range programs {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintf(os.Stderr, "usage: kt %s ARGUMENT...\n", strings.Join(names, "|"))
	os.Exit(2)
}
